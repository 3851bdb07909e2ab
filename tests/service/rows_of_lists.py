"""SQL of the rows that lists show: many of each kind, a few of them rare."""

from __future__ import annotations

# One row of $1 and n; everything is younger the greater n is.
FILL = {
    "records": """
        INSERT INTO records (workspace_id, id, schema_id, state_id, version, values, created_at,
                             updated_at, created_by, updated_by, external_key)
        SELECT {ws}, 'ent-' || n, CASE WHEN n % 3000 = 7 THEN 'schema-rare' ELSE 'schema-x' END,
               CASE WHEN n % 3000 = 8 THEN 'state-rare' END, 1,
               '{{"attr-name": [{{"scope": {{}}, "value": "{padding}"}}]}}',
               timestamptz '2024-01-01' + n * interval '1 s',
               timestamptz '2024-01-01' + n * 7919 % 20000 * interval '1 s', 'u', 'u', 'K/' || n""",
    "variants": """
        INSERT INTO variants (workspace_id, id, record_id, schema_id, path, level, version, values,
                              created_at, updated_at, created_by, updated_by)
        SELECT {ws}, 'var-' || n, 'ent-' || n % 10 + 1,
               CASE WHEN n % 3000 = 7 THEN 'schema-rare' ELSE 'schema-x' END, '{{}}', 1, 1,
               '{{"attr-name": [{{"scope": {{}}, "value": "{padding}"}}]}}',
               timestamptz '2024-01-01' + n * interval '1 s', now(), 'u', 'u'""",
    "audit": """
        INSERT INTO audit (workspace_id, record_id, schema_id, action, user_id, at, changes,
                           version)
        SELECT {ws}, 'ent-' || n % 10 + 1, 'schema-x',
               CASE WHEN n % 3000 = 7 THEN 'delete' WHEN n % 3000 = 8 THEN 'transition'
                    ELSE 'update' END,
               CASE WHEN n % 3000 = 9 THEN 'user-rare' ELSE 'user-often' END,
               timestamptz '2024-01-01' + n * interval '1 s',
               '[{{"attribute": "name", "attributeId": "attr-name", "scope": {{}}, "oldValue": null,
                  "newValue": "{padding}"}}]', n""",
    "followed_jobs": """
        INSERT INTO followed_jobs (workspace_id, id, kind, subject_id, status, error, created_at,
                                   completed_at, created_by)
        SELECT {ws}, 'job-' || n, CASE n % 3000 WHEN 8 THEN 'convert' WHEN 9 THEN 'move-states'
                                       ELSE 'make-unique' END,
               CASE WHEN n % 2 = 0 THEN 'attr-often' ELSE 'attr-' || n END,
               CASE WHEN n % 3000 IN (7, 8) THEN 'running' ELSE 'failed' END, '{padding}',
               timestamptz '2024-01-01' + n * interval '1 s', now(),
               CASE WHEN n % 3000 = 10 THEN 'user-editor' ELSE 'u' END""",
    "imports": """
        INSERT INTO imports (workspace_id, id, status, format, error, created_at, created_by)
        SELECT {ws}, 'imp-' || n, 'failed', 'csv', '{padding}',
               timestamptz '2024-01-01' + n * interval '1 s',
               CASE WHEN n % 3000 = 10 THEN 'user-editor' ELSE 'u' END""",
    "import_errors": """
        INSERT INTO import_errors (workspace_id, import_id, row_number, number, line, pointer,
                                   error, message)
        SELECT {ws}, 'imp-1', n, 1, n, '/x', 'VALIDATION_ERROR', '{padding}'""",
    "category_assignments": """
        INSERT INTO category_assignments (workspace_id, record_id, category_id, catalog_id,
                                          record_created_at)
        SELECT {ws}, 'ent-' || n, 'ctg-a', 'cat-a',
               timestamptz '2024-01-01' + n * interval '1 s'""",
    "option_values": """
        INSERT INTO option_values (workspace_id, list_id, id, alias, label, sort_order, color,
                                   external_key, grams, parent_id)
        SELECT {ws}, 'ol-a', 'val-' || n, 'a' || n, 'Option ' || n, n, '{padding}', 'K/' || n,
               '{{}}', CASE WHEN n % 3000 = 7 THEN 'val-2' WHEN n % 5 = 4 THEN 'val-3'
                            WHEN n > 3 THEN 'val-1' END""",
}
WEBHOOKS = {
    "webhooks": """
        INSERT INTO webhooks (workspace_id, id, name, url, events, active, position, version,
                              created_at, updated_at, created_by, runs_as, runs_as_kind)
        SELECT {ws}, 'wh-' || n, '{padding}', 'https://x.example', '{{entity.created}}', false, 0,
               1, now(), now(), 'u', 'u', 'user'""",
    "webhook_deliveries": """
        INSERT INTO webhook_deliveries (workspace_id, id, webhook_id, event, subject, body, status)
        SELECT {ws}, 'dlv-' || n, CASE WHEN n % 2 = 0 THEN 'wh-1' ELSE 'wh-2' END,
               'entity.created', 'ent-' || n, '{padding}',
               CASE WHEN n % 3000 = 8 THEN 'failed' WHEN n % 3000 = 10 THEN 'pending'
                    ELSE 'succeeded' END""",
}
CHANGE_SETS = {
    "change_sets": """
        INSERT INTO change_sets (workspace_id, id, title, status, source_type, source, operations,
                                 version, created_at, updated_at, created_by)
        SELECT {ws}, 'cs-' || n, '{padding}',
               CASE WHEN n % 3000 = 7 THEN 'approved' ELSE 'draft' END,
               CASE WHEN n % 3000 = 8 THEN 'import' ELSE 'agent' END, '{{"type": "agent"}}', 1, 1,
               timestamptz '2024-01-01' + n * interval '1 s', now(), 'u'""",
    "change_set_operations": """
        INSERT INTO change_set_operations (workspace_id, change_set_id, id, place, type, status,
                                           entity_id, changes)
        SELECT {ws}, CASE WHEN n % 2 = 0 THEN 'cs-1' ELSE 'cs-' || n END, 'op-' || n, n, 'update',
               CASE WHEN n % 3000 = 8 THEN 'rejected' ELSE 'pending' END, 'ent-' || n,
               '[]'""",
}
CHANNELS = {
    "channels": """
        INSERT INTO channels (workspace_id, id, alias, type, body, config, key, version, created_at,
                              updated_at)
        SELECT {ws}, 'ch-' || n, 'ch-' || n, 'custom', '{{}}', '{padding}', '', 1,
               timestamptz '2024-01-01' + n * interval '1 s', now()""",
    "sync_runs": """
        INSERT INTO sync_runs (workspace_id, channel_id, id, direction, status, caller_kind,
                               caller_id, created_at, step, due_at)
        SELECT {ws}, CASE WHEN n % 2 = 0 THEN 'ch-1' ELSE 'ch-' || n END, 'synclog-' || n, 'push',
               'success', 'user', 'u', timestamptz '2024-01-01' + n * interval '1 s', 'done',
               now()""",
    "sync_errors": """
        INSERT INTO sync_errors (workspace_id, channel_id, run_id, place, item, message)
        SELECT {ws}, 'ch-1', 'synclog-2', n, 'ent-' || n, '{padding}'""",
    "sync_mappings": """
        INSERT INTO sync_mappings (workspace_id, channel_id, id, entity_id, external_id, created_at)
        SELECT {ws}, 'ch-1', 'map-' || n, 'ent-' || n, n::text,
               timestamptz '2024-01-01' + n * interval '1 s'""",
}
# As many objects of a model as one has; their bodies are those of what was made first.
MODEL_ROWS = 2_000
MODEL = """
        INSERT INTO {table} (workspace_id, id, alias, body, version, created_at, updated_at{more})
        SELECT {ws}, '{prefix}-n' || n, 'n' || n, first.body || jsonb_build_object(
                   'externalKey', 'K/' || n, 'description', '{padding}'),
               1, timestamptz '2024-01-01' + n * interval '1 s', now(){one}"""
MODEL_TABLES = {
    "attributes": "attr",
    "schemas": "schema",
    "dimensions": "dim",
    "option_lists": "ol",
    "catalogs": "cat",
    "workflows": "wf",
}
ROLES = """
        INSERT INTO roles (workspace_id, id, name, description, flags, schema_permissions,
                           catalog_permissions, version, created_at, updated_at)
        SELECT {ws}, 'role-n' || n, 'n' || n, '{padding}', '{{}}', '[]', '[]', 1,
               timestamptz '2024-01-01' + n * interval '1 s', now()"""
API_KEYS = """
        INSERT INTO api_keys (workspace_id, id, name, permissions, key_hash, active, version,
                              created_by, created_at)
        SELECT {ws}, 'apikey-n' || n, '{padding}', '{{}}', sha256(({ws} || n)::bytea), true, 1,
               'u', timestamptz '2024-01-01' + n * interval '1 s'"""
