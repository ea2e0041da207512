-- Numbers figures and tables, and writes them where the text refers to one: `[](#fig-error)` becomes "Figure 3".
-- What a format can do differs: typst writes the numbers of captions itself, and GitHub's Markdown has no places
-- inside a page to link to.
local TYPST, MARKDOWN = FORMAT == "typst", FORMAT:find("^gfm") ~= nil
local names, count = {}, { Figure = 0, Table = 0 }

local function number(kind)
  return function(element)
    count[kind] = count[kind] + 1
    local name = kind .. " " .. count[kind]
    names["#" .. element.identifier] = name
    local caption = element.caption.long[1]
    if caption and not TYPST then
      caption.content:insert(1, pandoc.Strong(name .. "."))
      caption.content:insert(2, pandoc.Space())
    end
    if MARKDOWN then element.identifier = "" end
    return element
  end
end

local function refer(link)
  if link.target:sub(1, 1) ~= "#" then return end
  if #link.content == 0 then
    link.content = { pandoc.Str(names[link.target] or error("no figure or table " .. link.target)) }
  end
  return MARKDOWN and link.content or link
end

-- What only the HTML shows stays out of the Markdown, where pandoc would keep blocks of HTML.
local function drop(block)
  if MARKDOWN then return {} end
end

return {
  { traverse = "topdown", Figure = number("Figure"), Table = number("Table") },
  { Link = refer, RawBlock = drop },
}
