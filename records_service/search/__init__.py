"""Finds records by criteria, in one statement that holds the limits of the caller's role.

handlers    the routes
criteria    what was asked, checked against the data model: a tree
operands    what a criterion compares with, by the type of the attribute
sight       where a role sees an attribute
sql         the tree as a condition of one statement
folding     texts without case and accents, in Python and in SQL
store       the statement that looks at the values

By the search index, where that has what is asked for:

index_conditions  the tree as conditions over rows of the index, and where their records are found
index_joins       `and` and `or` of them
index_numbers     numbers of a row of the index
index_sources     the SELECTs over the index
index_walks       pages in order, of what many records meet
index_measure     how often a condition is met
index_store       the page
index_facets      facets from terms
beside            what another connection does meanwhile
sort_walk         pages in a stored order, and the first of a set along it
sort_groups       pages by several keys
value_walk        pages in the order of options
score_walk        pages in the order of completeness

Full text:

full_text         by the values
text_index        by the index of words, as SELECTs
text_samples      which records of very many are ranked
text_store        the page; `text_walk` of words that very many have, but seldom together
"""
