"""This service's copy of the workflow definitions, for state lists and completeness."""
