"""Transitions of records between lifecycle states; workflow_service decides which are allowed."""
