-- wrk: PUT of new objects, one connection a thread. An object's latency is that of all the requests it takes.
-- Arguments: kind ("put" or "distribution"), path of an object without its digest, run, folder of the lists, threads.

local ffi = require("ffi")
ffi.cdef([[
typedef struct { long seconds; long nanoseconds; } benchmark_time;
int clock_gettime(int clock, benchmark_time *time);
]])

local MONOTONIC = 1
local time = ffi.new("benchmark_time")
local threads = {}

local function microseconds()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) * 1e6 + tonumber(time.nanoseconds) / 1e3
end

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(args)
  kind, path, run, step = args[1], args[2], args[3], tonumber(args[5])
  local file = assert(io.open(args[4] .. "/filler", "rb"))
  filler = file:read("*a")
  file:close()
  digests = {}
  for line in io.lines(args[4] .. "/digests") do
    table.insert(digests, line)
  end
  latencies, failures, failure, exhausted = {}, 0, "", false
  index = number + 1 - step
end

local function next_object()
  if index + step > #digests then
    exhausted = true
  else
    index = index + step
  end
  started = microseconds()
end

local function body()
  return string.format("%s%012d", run, index - 1) .. filler
end

function request()
  if kind == "put" then
    next_object()
    return wrk.format("PUT", path .. digests[index], nil, body())
  end
  if location == nil then
    next_object()
    return wrk.format("POST", path .. "uploads/", nil, "")
  end
  local query = location:find("?", 1, true) and "&" or "?"
  return wrk.format("PUT", location .. query .. "digest=sha256:" .. digests[index], nil, body())
end

function response(status, headers, content)
  if status < 200 or status > 299 then
    failures, failure, location = failures + 1, status .. " " .. content, nil
  elseif kind == "distribution" and location == nil then
    local found = headers["Location"] or headers["location"]
    location = found:gsub("^https?://[^/]+", "")
  else
    location = nil
    table.insert(latencies, microseconds() - started)
  end
end

function done(summary, latency, requests)
  local all, failed, sample, short = {}, 0, "", false
  for _, thread in ipairs(threads) do
    for _, value in ipairs(thread:get("latencies")) do
      table.insert(all, value)
    end
    failed = failed + thread:get("failures")
    if thread:get("failure") ~= "" then
      sample = thread:get("failure")
    end
    short = short or thread:get("exhausted")
  end
  table.sort(all)
  local errors = summary.errors
  print("result", #all, summary.duration, all[math.ceil(#all * 0.5)] or 0, all[math.ceil(#all * 0.99)] or 0,
    failed + errors.connect + errors.read + errors.write + errors.timeout, short and 1 or 0, (sample:gsub("%s+", " ")))
end
