"""Workflow definitions: their states, transitions and gates, and the schemas that use them."""
