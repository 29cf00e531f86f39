--[[
Export to "unblur" in darktable: deblur what darktable exports, and group it with its photo.

Copy this file to the folder `lua` in darktable's configuration folder (~/.config/darktable/lua),
and add the line `require "unblur"` to the file `luarc` beside that folder. Needs darktable 4.2
or newer with Lua.
]]

local dt = require "darktable"

local NAME = "unblur"
local SUFFIX = "-unblurred"
local FORMATS = { jpeg = true, tiff = true, png = true, webp = true, avif = true }
local LABELS = { "red", "yellow", "green", "blue", "purple" }
local ON_WINDOWS = dt.configuration.running_os == "windows"
local SEPARATOR = ON_WINDOWS and "\\" or "/"

-- Without windows, as in darktable-cli, registering waits for ever.
if dt.configuration.has_gui then
  dt.preferences.register(
    NAME, "program", "string", "unblur: program",
    "Name or path of the program unblur. `which unblur` prints it in a terminal.", NAME
  )
end

local function program()
  local chosen = dt.preferences.read(NAME, "program", "string")
  return chosen ~= "" and chosen or NAME
end

-- One word for the shell, whatever is in it.
local function quoted(text)
  if ON_WINDOWS then
    return '"' .. text .. '"'
  end
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- Return the exit code of a command. darktable stays usable meanwhile.
local function run(words)
  local command = table.concat(words, " ")
  if ON_WINDOWS then -- cmd.exe removes the first and the last quotation mark of a line
    command = '"' .. command .. '"'
  end
  if dt.configuration.has_gui then
    return dt.control.execute(command)
  end
  local _, _, code = os.execute(command) -- darktable-cli ends without waiting for the other
  return code
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then
    file:close()
  end
  return file ~= nil
end

local function stem_and_extension(filename)
  local stem, extension = filename:match("^(.+)(%.[^.]+)$")
  return stem or filename, extension or ""
end

-- Where the result goes: beside the photo, under a name that is free.
local function free_place(image, exported)
  local stem = stem_and_extension(image.filename)
  local _, extension = stem_and_extension(exported)
  local base = image.path .. SEPARATOR .. stem .. SUFFIX
  local place, number = base .. extension, 1
  while exists(place) do
    number = number + 1
    place = base .. "-" .. number .. extension
  end
  return place
end

-- The last line that is not empty: what unblur says of its failure.
local function last_line(path)
  local last = ""
  local file = io.open(path, "r")
  if file then
    for line in file:lines() do
      last = line:match("%S") and line or last
    end
    file:close()
  end
  return last
end

-- Run unblur; return nothing, or what went wrong.
local function deblur(exported, place)
  local log = exported .. ".log"
  local code = run {
    quoted(program()), "--quiet --on-existing error", "--output", quoted(place), "--",
    quoted(exported), "2>", quoted(log),
  }
  local said = last_line(log)
  os.remove(log)
  if code ~= 0 or not exists(place) then
    return said ~= "" and said or "it ended with exit code " .. tostring(code)
  end
end

local function copy_labels_and_tags(image, result)
  result.rating = image.rating
  for _, label in ipairs(LABELS) do
    result[label] = image[label]
  end
  for _, tag in ipairs(dt.tags.get_tags(image)) do
    if not tag.name:match("^darktable|") then -- darktable's own are true of the photo only
      dt.tags.attach(tag, result)
    end
  end
end

local function import_grouped(image, place)
  local result = dt.database.import(place)
  copy_labels_and_tags(image, result)
  result:group_with(image.group_leader)
  return result
end

-- What darktable calls for each photo that it has exported to a temporary file.
local function store(_, image, _, exported)
  local place = free_place(image, exported)
  local fault = deblur(exported, place)
  os.remove(exported)
  if fault then
    dt.print(NAME .. ": " .. image.filename .. ": " .. fault)
    dt.print_error(image.filename .. ": " .. fault)
    return nil
  end
  dt.print(NAME .. ": " .. place)
  return import_grouped(image, place)
end

local function supported(_, format)
  return FORMATS[format.plugin_name] == true
end

dt.register_storage(NAME, NAME, store, nil, supported)

return { store = store, supported = supported }
