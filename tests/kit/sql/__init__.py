"""Whether the SQL of the services can run on Citus: each text that the service tests execute.

bindings    which tables of a statement are bound to one workspace
rules       the rules, and why each exists
recording   hands each text to the rules when a service executes it first
exceptions  the statements that span workspaces, with the reason
"""
