"""Reasons: why a scenario has no plan and what would give it one; why a plan is as it is and what it hangs on."""
