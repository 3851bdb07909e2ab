"""The compiled data model of a workspace, against which records are validated and rendered."""
