# METADATA
# title: Which rules are in force, and how a rule's word becomes a reason
# description: |
#   The rows come from the METADATA of the rules themselves. Dates are half-open; a rule without a first day is a draft
#   and never decides.
# scope: package
package carnet.catalogue

import data.carnet.tables

now := input.context.now_ns

# The rules that may decide on this job: those of all, and those of the organisation's own overlay.
rules := {id: row |
	some id, row in tables.rules.rows
	row.overlay in {"", input.gateway.overlay}
}

in_force contains id if {
	some id, row in rules
	is_number(row.effective_from_ns)
	row.effective_from_ns <= now
	not ended(row.effective_to_ns)
}

ended(until_ns) if {
	is_number(until_ns)
	until_ns <= now
}

# Whether a dated row holds now: from <= now < until.
holds(row) if {
	row.from_ns <= now
	not ended(row.until_ns)
}

# The rules in force of a stage, of these effects.
ids(stage, effects) := {id |
	some id in in_force
	rules[id].stage == stage
	rules[id].effect in effects
}

dates contains row.effective_from_ns if {
	some row in rules
	is_number(row.effective_from_ns)
}

dates contains row.effective_to_ns if {
	some row in rules
	is_number(row.effective_to_ns)
}

# The days on which a table of dated rows changes.
row_dates(rows) := {row.from_ns | some row in rows} | {row.until_ns | some row in rows; is_number(row.until_ns)}

# The rows of a table that nobody verified, as `table/row`.
unverified(table, rows) := {concat("/", [table, key]) | some key, row in rows; row.status != "seen"}

# The citations of these rules that nobody verified; one that is in no table is none that anybody did.
unverified_citations(named) := {concat("/", ["citations", citation]) |
	some id in named
	some citation in tables.rules.rows[id].citations
	not tables.citations.rows[citation].status == "seen"
}

# The earliest day after now among those that the evaluation looked at.
valid_until(looked_at) := min({day | some day in looked_at; day > now} | {tables.settings.far_ns})

reason(id, effect, found, words) := {
	"rule": id,
	"effect": effect,
	"jurisdictions": sort(found),
	"citations": tables.rules.rows[id].citations,
	"message": words.message,
	"parameters": object.union(words.parameters, {"fix_ids": words.fix}),
	"fix": [tables.messages.rows[fix].en | some fix in words.fix],
}
