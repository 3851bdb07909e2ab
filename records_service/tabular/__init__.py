"""How records stand in tables, as pure rules: names of columns, and cells of spreadsheets."""
