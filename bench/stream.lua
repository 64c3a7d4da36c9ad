-- wrk's script: sends the lines of a stream file in turn (streams.py writes it), and reports as JSON.
-- wrk ... -s stream.lua URL -- FILE

local requests, at = {}, 0

function init(args)
  for line in io.lines(args[1]) do
    local method, path, authorization, bytes = line:match("^(%S+)\t(%S+)\t([^\t]+)\t(%d+)$")
    local body = tonumber(bytes) > 0 and string.rep("x", tonumber(bytes)) or nil
    requests[#requests + 1] = wrk.format(method, path, { ["Authorization"] = authorization }, body)
  end
  at = math.random(#requests) -- not always the same ones when a run ends before the file does
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "bytes": %d, "micros": %d, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
