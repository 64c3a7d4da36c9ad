-- For wrk: counts the answers by status and prints them as one line of JSON at the end. Loaded by
-- harness/load.py.

local threads = {}

function setup(thread)
   table.insert(threads, thread)
end

function init()
   statuses = {}
end

function response(status)
   statuses[status] = (statuses[status] or 0) + 1
end

function done(summary)
   local total = {}
   for _, thread in ipairs(threads) do
      for status, count in pairs(thread:get("statuses")) do
         total[status] = (total[status] or 0) + count
      end
   end
   local parts = {}
   for status, count in pairs(total) do
      table.insert(parts, string.format('"%d": %d', status, count))
   end
   local errors = summary.errors
   io.write(string.format(
      '\nRESULT {"statuses": {%s}, "connect": %d, "read": %d, "write": %d, "timeout": %d}\n',
      table.concat(parts, ", "), errors.connect, errors.read, errors.write, errors.timeout))
end
