"""How long a workspace keeps its history, and the removal of what is older."""
