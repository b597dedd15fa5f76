"""Tools that look at programs and at derivatives: gradient checks, anomalies, drawings, summaries."""
