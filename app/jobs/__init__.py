"""Your programs: `make run M=app.jobs.NAME` runs one in the stack."""
