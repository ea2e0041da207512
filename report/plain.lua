-- Leaves out of a report what the text of a study, or a bibliography, could run or read with it: attributes such as
-- `onclick`, addresses other than those of pages and mail, files other than the report's figures. Raw HTML and typst
-- are the template's own: texts with any are refused where they are read.
local KEPT = { alt = true, width = true, height = true, role = true, ["entry-spacing"] = true, ["line-spacing"] = true }

local function plain(element)
  for name in pairs(element.attributes) do
    if not KEPT[name] then element.attributes[name] = nil end
  end
  if not element.identifier:find("^[%w_:.-]*$") then element.identifier = "" end
  return element
end

local function link(element)
  local target = element.target
  local known = target:find("^#") or target:find("^https?://") or target:find("^mailto:")
  return known and plain(element) or element.content
end

local function image(element)
  local known = element.src:find("^figures/[%w_/.-]+$") and not element.src:find("..", 1, true)
  return known and plain(element) or element.caption
end

return {
  {
    Link = link, Image = image,
    Span = plain, Code = plain, Div = plain, Header = plain, CodeBlock = plain, Table = plain, Figure = plain,
  },
}
