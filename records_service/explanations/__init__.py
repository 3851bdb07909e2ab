"""Why a role or an API key may do something or not: asks the functions that decide it."""
