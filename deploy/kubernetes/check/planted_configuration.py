"""Errors in settings, secrets, ports, probes and programs."""

from __future__ import annotations

from typing import Final

from deploy.kubernetes.check import configuration, programs
from deploy.kubernetes.check.planted import add, drop, planted, put
from shared.identity import public_key_of

_POD: Final = "spec template spec"
_CONTAINER: Final = f"{_POD} containers 0"
_RECORDS: Final = "records-service-api"
_GATEWAY: Final = ("Deployment", "gateway")
_JOB: Final = ("Job", "records-service-migrations-0-1-0")

ERRORS: Final = (
    planted(
        programs.upgrade_order,
        "Deployment gateway is applied 0 times",
        put(*_GATEWAY, "metadata labels app.kubernetes.io/name", "gate"),
    ),
    planted(
        programs.upgrade_order,
        "not in that of an upgrade",
        put(*_GATEWAY, "metadata labels app.kubernetes.io/name", "auth-service"),
    ),
    planted(
        programs.upgrade_order,
        "do not migrate before they replace services",
        drop(*_JOB, "metadata labels app.kubernetes.io/component"),
    ),
    planted(
        configuration.secret_keys,
        "takes SIGMA_TOKEN_KEYS from sigma-keys, without tokens",
        put(*_GATEWAY, f"{_CONTAINER} env 2 valueFrom secretKeyRef key", "tokens"),
    ),
    planted(
        configuration.known_variables,
        "SIGMA_RATE_LIMITS, which is no setting of gateway",
        put("ConfigMap", "gateway", "data SIGMA_RATE_LIMITS", "1/second"),
    ),
    planted(
        configuration.known_variables,
        "SIGMA_HASHING_THREADS, which is no setting of records_service",
        put("ConfigMap", "records-service", "data SIGMA_HASHING_THREADS", "2"),
    ),
    planted(
        configuration.known_variables,
        "SIGMA_AMQP_URL, which is no setting of shared.database.migrations",
        put(*_JOB, f"{_CONTAINER} env 1", {"name": "SIGMA_AMQP_URL", "value": "amqp://broker"}),
    ),
    planted(
        configuration.known_variables,
        "which is no ConfigMap here",
        put(*_GATEWAY, f"{_CONTAINER} envFrom 0 configMapRef name", "settings"),
    ),
    planted(
        configuration.valid_settings,
        "SIGMA_WORKFLOW_URL is missing",
        drop("ConfigMap", "gateway", "data SIGMA_WORKFLOW_URL"),
    ),
    planted(
        configuration.valid_settings,
        "SIGMA_DATABASE_URL is missing",
        drop(*_JOB, f"{_CONTAINER} env 0"),
    ),
    planted(
        configuration.valid_settings,
        "SIGMA_DRAIN_SECONDS: expected",
        put("ConfigMap", "workflow-service", "data SIGMA_DRAIN_SECONDS", "20s"),
    ),
    planted(
        configuration.valid_settings,
        "SIGMA_IDENTITY_SIGNING_KEY: the issuer must be 'gateway'",
        put(
            *_GATEWAY,
            f"{_CONTAINER} env 3 valueFrom secretKeyRef key",
            "workflow_service_identity_signing_key",
        ),
    ),
    planted(
        configuration.valid_settings,
        "Deployment gateway: SIGMA_IDENTITY_SIGNING_KEY: its public key",
        put(
            *_GATEWAY,
            f"{_CONTAINER} env 1",
            {"name": "SIGMA_IDENTITY_KEYS", "value": public_key_of(f"gateway={'A' * 43}=")},
        ),
    ),
    planted(
        configuration.reachable_hosts,
        "listens on 127.0.0.1",
        drop("ConfigMap", "gateway", "data SIGMA_HOST"),
    ),
    planted(
        configuration.secret_keys,
        "would be in git",
        add({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "sigma-keys"}}),
    ),
    planted(
        configuration.secret_keys,
        "from sigma-record-app, which nothing makes",
        put(*_JOB, f"{_CONTAINER} env 0 valueFrom secretKeyRef name", "sigma-record-app"),
    ),
    planted(
        configuration.secret_keys,
        "from sigma-records-app, without url",
        put(*_JOB, f"{_CONTAINER} env 0 valueFrom secretKeyRef key", "url"),
    ),
    planted(
        configuration.secret_keys,
        "sigma-broker-default-user user, which nothing makes",
        put("TriggerAuthentication", "sigma-broker", "spec secretTargetRef 0 key", "user"),
    ),
    planted(
        configuration.secrets_stay_secret,
        "has the value of SIGMA_TOKEN_KEYS in a manifest",
        put("ConfigMap", "gateway", "data SIGMA_TOKEN_KEYS", "a=b"),
        drop(*_GATEWAY, f"{_CONTAINER} env 2"),
    ),
    planted(
        configuration.secrets_stay_secret,
        "has the value of SIGMA_RATE_LIMIT_STORAGE in a manifest",
        put(
            "ConfigMap", "gateway", "data SIGMA_RATE_LIMIT_STORAGE", "redis://:pw@rate-limits:6379"
        ),
    ),
    planted(
        configuration.container_ports,
        "but has {'internal': 9080, 'http': 8080}",
        put(*_GATEWAY, f"{_CONTAINER} ports 0 containerPort", 8081),
    ),
    planted(
        configuration.container_ports,
        "Deployment records-service-api declares the ports",
        put("ConfigMap", "records-service", "data SIGMA_INTERNAL_PORT", "9999"),
    ),
    planted(
        configuration.service_ports,
        "leads to port web, which",
        put("Service", "records-service", "spec ports 0 targetPort", "web"),
    ),
    planted(
        configuration.service_ports,
        "Service gateway selects no pod",
        put("Service", "gateway", "spec selector app.kubernetes.io/name", "gate"),
    ),
    planted(
        configuration.addresses,
        "leads to no Service",
        put("ConfigMap", "gateway", "data SIGMA_AUTH_URL", "http://auth:8081"),
    ),
    planted(
        configuration.addresses,
        "leads to records_service, not to auth_service",
        put("ConfigMap", "gateway", "data SIGMA_AUTH_URL", "http://records-service:8082"),
    ),
    planted(
        configuration.addresses,
        "leads to a port that Service auth-service has not",
        put("ConfigMap", "gateway", "data SIGMA_AUTH_URL", "http://auth-service:9081"),
    ),
    planted(
        configuration.addresses,
        "HTTPRoute gateway leads to http://gateway:80,",
        put("HTTPRoute", "gateway", "spec rules 0 backendRefs 0 port", 80),
    ),
    planted(
        configuration.probe_paths,
        "asks for /ready, not for /readyz",
        put(*_GATEWAY, f"{_CONTAINER} readinessProbe httpGet path", "/ready"),
    ),
    planted(
        configuration.probe_paths,
        "livenessProbe asks for /readyz",
        put(*_GATEWAY, f"{_CONTAINER} livenessProbe httpGet path", "/readyz"),
    ),
    planted(
        configuration.probe_paths,
        "asks the port http, not the internal one",
        put(*_GATEWAY, f"{_CONTAINER} startupProbe httpGet port", "http"),
    ),
    planted(
        configuration.probe_paths,
        "readinessProbe waits 3 s",
        put(*_GATEWAY, f"{_CONTAINER} readinessProbe timeoutSeconds", 3),
    ),
    planted(
        programs.entry_points,
        "starts record_service, which is no program",
        put("Deployment", _RECORDS, f"{_CONTAINER} args 0", "record_service"),
    ),
    planted(
        programs.entry_points,
        "invalid choice: 'web'",
        put("Deployment", _RECORDS, f"{_CONTAINER} args 2", "web"),
    ),
    planted(
        programs.entry_points,
        "unrecognized arguments: --wait-for",
        put(*_JOB, f"{_CONTAINER} args 2", "--wait-for"),
    ),
    planted(
        programs.entry_points,
        "replaces the entry point",
        put(*_GATEWAY, f"{_CONTAINER} command", ["sh"]),
    ),
    planted(
        programs.entry_points,
        "record_service has no migrations",
        put(*_JOB, f"{_CONTAINER} args 1", "record_service"),
    ),
    planted(
        programs.in_the_image,
        "starts deploy.local, which is not in the image",
        put(*_GATEWAY, f"{_CONTAINER} args 0", "deploy.local"),
        put(*_GATEWAY, f"{_CONTAINER} args 1", "gateway"),
    ),
    planted(
        programs.in_the_image,
        "Deployment gateway runs as 1000, the image as",
        put(*_GATEWAY, f"{_POD} securityContext runAsUser", 1000),
    ),
    planted(
        programs.roles,
        "has the role api and the label worker",
        put("Deployment", "auth-service-worker", f"{_CONTAINER} args 2", "api"),
    ),
    planted(
        programs.roles,
        "auth_service has processes of the roles ['api']",
        drop("Deployment", "auth-service-worker"),
    ),
    planted(programs.migration_jobs, "records_service has migrations and 0 Jobs", drop(*_JOB)),
    planted(
        programs.migration_jobs,
        "waits 600 s for its database",
        put(*_JOB, f"{_CONTAINER} args 3", "600"),
    ),
    planted(
        programs.migration_jobs,
        "migrates; a Job should",
        put(*_GATEWAY, f"{_POD} initContainers", [{"image": "sigma-pim", "args": ["x"]}]),
        put(
            *_GATEWAY,
            f"{_POD} initContainers 0 args",
            ["shared.database.migrations", "records_service"],
        ),
    ),
    planted(
        programs.versions,
        "runs the version 0.0.9",
        put(*_GATEWAY, f"{_CONTAINER} image", "sigma-pim:0.0.9"),
    ),
    planted(
        programs.versions,
        "does not end with the version",
        put(*_JOB, "metadata name", "records-service-migrations"),
    ),
    planted(
        configuration.one_namespace,
        "Service gateway is in the namespace default",
        put("Service", "gateway", "metadata namespace", "default"),
    ),
)
