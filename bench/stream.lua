-- wrk's script: sends the lines of a stream file in turn (streams.py writes it), and reports as JSON.
-- wrk ... -s stream.lua URL -- FILE [once]
-- With `once`, which is for one thread, it sends each line once, and the time is that until it is done.

local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds, nanoseconds; } instant; int clock_gettime(int clock, instant *now);")

local MONOTONIC = 1
local requests, at, left, started = {}, 0, nil, nil
local threads = {}
micros = 0 -- read by `done`, in another Lua state

local function now()
  local instant = ffi.new("instant")
  ffi.C.clock_gettime(MONOTONIC, instant)
  return tonumber(instant.seconds) * 1e6 + tonumber(instant.nanoseconds) / 1e3
end

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  for line in io.lines(args[1]) do
    local method, path, authorization, bytes = line:match("^(%S+)\t(%S+)\t([^\t]+)\t(%d+)$")
    local body = tonumber(bytes) > 0 and string.rep("x", tonumber(bytes)) or nil
    requests[#requests + 1] = wrk.format(method, path, { ["Authorization"] = authorization }, body)
  end
  at = math.random(#requests) -- not always the same ones when a run ends before the file does
  left = args[2] == "once" and #requests or nil
end

function request()
  if left then
    started = started or now()
    if left == 0 then
      micros = now() - started
      wrk.thread:stop()
    end
    left = left - 1
  end
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors, micros = summary.errors, threads[1]:get("micros")
  if micros == 0 then
    micros = summary.duration
  end
  io.write(string.format(
    '\n{"requests": %d, "bytes": %d, "micros": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.bytes, micros, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
