"""How complete a record is for a lifecycle state, and what is missing."""
