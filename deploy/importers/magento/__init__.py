"""Reads a product export of Magento 2 and plans the corresponding objects of Sigma.

products.csv, attributes.csv  --survey-->     what there is, and what is used
                              --modelling-->  model objects
                              --products-->   record plans
"""
