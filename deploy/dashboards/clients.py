"""What clients get: how much they ask, how much fails, how long it takes, and who asks."""

from __future__ import annotations

from typing import Final

from deploy.dashboards.board import COUNT, PER_SECOND, SECONDS, SHARE, Board, Chart

_GATEWAY: Final = '{job="gateway"}'
_OF_GATEWAY: Final = 'job="gateway"'
_BUCKETS: Final = f"rate(sigma_http_request_seconds_bucket{_GATEWAY}[5m])"
_BY_WORKSPACE: Final = f"rate(sigma_workspace_request_seconds_sum{_GATEWAY}[5m])"

CLIENTS: Final = Board(
    uid="sigma-clients",
    title="Sigma PIM: Clients",
    about="Requests as clients see them, at the gateway: rate, errors and duration.",
    rows={
        "All requests": [
            Chart(
                "Requests by status",
                PER_SECOND,
                {"{{status}}": f"sum by (status) (rate(sigma_http_requests_total{_GATEWAY}[5m]))"},
            ),
            Chart(
                "Share that fails (5xx)",
                SHARE,
                {
                    "failed": "sum(rate(sigma_http_requests_total"
                    f'{{{_OF_GATEWAY},status=~"5.."}}[5m]))'
                    f" / sum(rate(sigma_http_requests_total{_GATEWAY}[5m]))"
                },
                "Above a thousandth, look at the routes and services below.",
            ),
            Chart(
                "Time to answer",
                SECONDS,
                {
                    "half": f"histogram_quantile(0.5, sum by (le) ({_BUCKETS}))",
                    "95 of 100": f"histogram_quantile(0.95, sum by (le) ({_BUCKETS}))",
                    "99 of 100": f"histogram_quantile(0.99, sum by (le) ({_BUCKETS}))",
                },
                "Requests that wait for news are not in it.",
            ),
        ],
        "By route": [
            Chart(
                "Requests",
                PER_SECOND,
                {
                    "{{method}} {{route}}": "topk(10, sum by (method, route)"
                    f" (rate(sigma_http_requests_total{_GATEWAY}[5m])))"
                },
            ),
            Chart(
                "Failures (5xx)",
                PER_SECOND,
                {
                    "{{method}} {{route}}": "topk(10, sum by (method, route)"
                    f' (rate(sigma_http_requests_total{{{_OF_GATEWAY},status=~"5.."}}[5m])))'
                },
            ),
            Chart(
                "99 of 100 take less than",
                SECONDS,
                {
                    "{{method}} {{route}}": "topk(10, histogram_quantile(0.99,"
                    f" sum by (le, method, route) ({_BUCKETS})))"
                },
            ),
        ],
        "By workspace": [
            Chart(
                "Requests",
                PER_SECOND,
                {
                    "{{workspace}}": "topk(10, sum by (workspace)"
                    f" (rate(sigma_workspace_requests_total{_GATEWAY}[5m])))"
                },
                "The workspaces with most load or failures; all others are (other).",
            ),
            Chart(
                "Failures (5xx)",
                PER_SECOND,
                {
                    "{{workspace}}": "topk(10, sum by (workspace)"
                    f' (rate(sigma_workspace_requests_total{{{_OF_GATEWAY},status="5xx"}}[5m])))'
                },
            ),
            Chart(
                "Seconds of work for each second",
                COUNT,
                {"{{workspace}}": f"topk(10, sum by (workspace) ({_BY_WORKSPACE}))"},
                "Who makes the load: requests times their duration.",
            ),
        ],
        "What refuses or fails": [
            Chart(
                "Calls to services that failed",
                PER_SECOND,
                {
                    "{{upstream}} {{error}}": "sum by (upstream, error)"
                    " (rate(sigma_upstream_failures_total[5m]))"
                },
            ),
            Chart(
                "Refused by a rate limit",
                PER_SECOND,
                {
                    "refused": "sum(rate(sigma_rate_limit_refused_total[5m]))",
                    "not counted": "sum(rate(sigma_rate_limit_uncounted_total[5m]))",
                },
                "Not counted: Redis did not answer, so nobody was refused.",
            ),
            Chart(
                "Repeated requests and dry runs",
                PER_SECOND,
                {"{{outcome}}": "sum by (outcome) (rate(sigma_retry_safe_requests_total[5m]))"},
            ),
        ],
        "Processes": [
            Chart(
                "Requests in progress",
                COUNT,
                {"{{job}} {{pod}}": "sigma_http_requests_in_flight"},
            ),
            Chart(
                "Delay of the event loop",
                SECONDS,
                {"{{job}} {{pod}}": "sigma_loop_lag_seconds"},
                "Above 0.1 s a process computes too much: all its requests wait.",
            ),
            Chart(
                "Versions",
                COUNT,
                {"{{job}} {{version}}": "count by (job, version) (sigma_build_info)"},
            ),
        ],
    },
)
