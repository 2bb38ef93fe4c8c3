"""Every model the installed libraries register, built small and seeded, captured, proved and put into one table."""
