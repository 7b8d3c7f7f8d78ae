"""Memory settings as data and arithmetic: steps, profiles, the ladder, what a setting needs."""
