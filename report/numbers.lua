-- Numbers figures and tables, and writes them where the text refers to one: `[](#fig-error)` becomes "Figure 3".
-- What a format can do differs: typst writes the numbers of captions itself, and GitHub's Markdown has no places
-- inside a page to link to. Numbers stay on a line with their units, but in Markdown, which nobody sets.
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

local function set(...)
  local made = {}
  for _, word in ipairs({ ... }) do made[word] = true end
  return made
end

local UNITS = set("%", "pp", "ms", "s", "k", "M", "G", "MB", "images/s", "nats", "times", "seeds")
local SIGNS = set("<", ">", "=", "±", "×", "−")
local NAMES = set("Figure", "Table", "Fig.", "section", "sections", "sect.", "p", "n", "k")

-- Whether no line ends between two words: `5 %`, `p < 0.001`, `n = 5`, `Table 2`, `[0.1, 0.2]`, `5 †1`.
local function together(before, after)
  local unit, name = after:gsub("[.,;:)%]]+$", ""), before:gsub("^[(%[]+", "")
  local number = before:find("%d[)%]]?$") ~= nil
  return number and (UNITS[unit] or after:find("^†"))
    or SIGNS[before] or SIGNS[after]
    or NAMES[name] and after:find("^%d")
    or before:find("^%[[+−%d.,]+,$") and after:find("^[+−%d.,]+%]")
end

local function keep_together(inlines)
  if MARKDOWN then return end
  for place = 2, #inlines - 1 do
    local before, space, after = inlines[place - 1], inlines[place], inlines[place + 1]
    if (space.t == "Space" or space.t == "SoftBreak") and before.t == "Str" and after.t == "Str"
      and together(before.text, after.text) then
      inlines[place] = pandoc.Str("\u{a0}")
    end
  end
  return inlines
end

-- Divs that paper.typ sets in a way of its own become calls of its functions, with a piece of content a child; the HTML
-- has a style for them.
local SET = set("pair", "beside", "single", "question", "incomplete", "small", "fine")

local function call(div)
  local name = div.classes[1]
  if not TYPST or not SET[name] then return end
  local made = { pandoc.RawBlock("typst", "#" .. name .. "[") }
  for place, child in ipairs(div.content) do
    if place > 1 and (name == "pair" or name == "beside") then table.insert(made, pandoc.RawBlock("typst", "][")) end
    table.insert(made, child)
  end
  table.insert(made, pandoc.RawBlock("typst", "]"))
  return made
end

return {
  { traverse = "topdown", Figure = number("Figure"), Table = number("Table") },
  { Link = refer, RawBlock = drop },
  { Inlines = keep_together, Div = call },
}
