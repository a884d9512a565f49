-- wrk: GET of stored objects in turn. No `response` function, which would cost wrk most of its speed.
-- Arguments: path of an object without its digest, file of digests.

function init(args)
  requests = {}
  for line in io.lines(args[2]) do
    table.insert(requests, wrk.format("GET", args[1] .. line))
  end
  index = math.random(#requests)
end

function request()
  index = index % #requests + 1
  return requests[index]
end

function done(summary, latency, requests)
  local errors = summary.errors
  print("result", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, 0, "")
end
