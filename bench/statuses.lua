-- wrk's script: sends the lines of a stream file in turn, as stream.lua does, and counts every answer by its
-- status. wrk ... -s statuses.lua URL -- FILE

local requests, at = {}, 0
local threads = {}
statuses = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  for line in io.lines(args[1]) do
    local method, path, authorization, bytes = line:match("^(%S+)\t(%S+)\t([^\t]+)\t(%d+)$")
    local body = tonumber(bytes) > 0 and string.rep("x", tonumber(bytes)) or nil
    requests[#requests + 1] = wrk.format(method, path, { ["Authorization"] = authorization }, body)
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function response(status)
  statuses[status] = (statuses[status] or 0) + 1
end

function done()
  local sums = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      sums[status] = (sums[status] or 0) + count
    end
  end
  for status, count in pairs(sums) do
    io.write(string.format("\nstatus %d %d\n", status, count))
  end
end
