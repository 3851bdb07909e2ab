"""What a process needs to run: settings, logs, metrics, traces, and fair waiting.

config       settings from environment variables
logs         one JSON object per line; metrics for Prometheus; tracing for OpenTelemetry
offload      threads for what would hold the event loop
waiting      fair queues with a bounded waiting time, and semaphores per key
sized_cache  the values that were used last, bounded by what they hold
stopping     signals while a process still starts
silence      the end of a connection whose other side is gone without a word
"""
