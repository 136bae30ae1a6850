"""The report of a case: report.html, scope.csv and outcome.csv, made from what the case holds. Only reads the case."""
