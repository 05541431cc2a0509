"""Plan documents made readable. Reads plans only; formats every number in one place (`numbers`)."""
