"""Workflow definitions: their states and transitions, who refers to them, and their gates."""
