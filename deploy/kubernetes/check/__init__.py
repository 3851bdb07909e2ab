"""Checks the Kubernetes manifests: `python -m deploy.kubernetes.check` (`make kubernetes-check`).

Every overlay is rendered, and what is rendered is checked, because that is what runs:

    rendering      `kubectl kustomize`
    schemas        each document, strictly, at the oldest and the newest supported Kubernetes, and
                   the custom resources of operators
    security       Pod Security `restricted`, and what else every pod must have; lists exceptions
    configuration  settings, secrets, ports, addresses, probes: as the code has them
    programs       what containers start exists, in the right role, version and order
    network        the network policies: both sides agree, and they allow what ARCHITECTURE.md says
    capacity       database connections, autoscaling, draining of nodes, time to stop
    observability  metrics and queues have the names of the code; promtool tests the alerts

A rule is a function of the rendered documents that yields problems. `planted` has an error for each
rule; each run plants all of them and fails if a rule does not find its error.
"""
