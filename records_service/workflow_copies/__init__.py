"""Local copies of workflow definitions, for the lists of states and completeness."""
