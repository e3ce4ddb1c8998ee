#!/usr/bin/env bash
# Runs Prometheus in its container. Its flags stand here, all else in prometheus.yml and rules.yml.
set -euo pipefail

printf '[{"targets": ["seedcore-api:%d"]}]\n' "${API_PORT:?}" >/tmp/seedcore-api.json

exec prometheus \
    --config.file=/app/images/prometheus/prometheus.yml \
    --storage.tsdb.path=/prometheus \
    --storage.tsdb.retention.time=15d --storage.tsdb.retention.size=1GB \
    --web.listen-address=0.0.0.0:9090
