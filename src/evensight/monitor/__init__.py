"""Stage 6: watches a served model through its log, in the objective's own terms."""
