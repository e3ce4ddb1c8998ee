#!/usr/bin/env bash
# Runs Prometheus in its container. Its flags stand here, all else in prometheus.yml and rules.yml.
set -euo pipefail

config=/app/images/prometheus/prometheus.yml
api=seedcore-api
listen=0.0.0.0:9090 # of the container; compose.yaml publishes it on 127.0.0.1
if [[ -n ${CLUSTER_ADDRESS:-} ]]; then # of several machines: on the network of this one, with the ports of entrypoint.sh
    api=127.0.0.1
    listen=127.0.0.1:$PROMETHEUS_PORT
    ln --symbolic --force --no-dereference /ray/head /tmp/ray # as the head has it
    # Beside its nodes Ray lists what the head's programs say of themselves, on ports of Ray's own.
    sed -e '/static_configs/,/refresh_interval/d' -e "s/HEAD_NODE/$CLUSTER_ADDRESS:($((CLUSTER_PORTS + 1))|44217|44227)/" \
        -e "s/API_NODE/$CLUSTER_ADDRESS:$((CLUSTER_PORTS + 101))/" "$config" >/tmp/prometheus.yml
    config=/tmp/prometheus.yml
fi
printf '[{"targets": ["%s:%d"]}]\n' "$api" "${API_PORT:?}" >/tmp/seedcore-api.json

exec prometheus \
    --config.file="$config" \
    --storage.tsdb.path=/prometheus \
    --storage.tsdb.retention.time=15d --storage.tsdb.retention.size=1GB \
    --web.listen-address="$listen"
