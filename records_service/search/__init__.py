"""Finds records by criteria, in one statement that holds the limits of the caller's role.

handlers    the routes
criteria    what was asked, checked against the data model: a tree
operands    what a criterion compares with, by the type of the attribute
sight       where a role sees an attribute
sql         the tree as a condition of one statement
folding     texts without case and accents, in Python and in SQL
store       the statement
"""
