"""HTTP in, HTTP out: parse, call one service function, answer. No SQL, no rules, no broker."""
