package carnet.ear_test

import data.carnet.ear
import data.carnet.fixtures
import data.carnet.main
import data.carnet.runners
import data.carnet.tables

query(codes, change) := fixtures.with_values(object.union({"/job/technology/controlled": "yes", "/job/technology/eccns": codes}, change))

listed(codes, change) := found if {
	found := ear.blocked["US-EAR-LIST"] with input as query(codes, change)
}

test_what_is_not_controlled_and_ear99_are_free if {
	found := ear.blocked["US-EAR-LIST"] with input as fixtures.hospital
	found == set()
	listed(["EAR99"], {}) == set()
	listed(["EAR99"], {"/job/technology/controlled": "unknown"}) == set()
	listed(["EAR99"], {"/job/controller/country": "US"}) == set()
}

test_a_listed_item_goes_to_the_us_and_canada if {
	found := listed(["5D002"], {})
	{"US", "CA", "PR"} & found == set()
	{"DE", "GB", "CN"} - found == set()
}

explained(change) := found if {
	found := ear.explained["US-EAR-LIST"] with input as query(["5D002"], change)
}

test_the_country_groups_of_the_places_asked_for_are_named if {
	found := explained({"/job/constraints/only": ["SG", "DE-BY", "CN", "HK", "NC", "ZZ"]})
	found.parameters.groups == ["CN D:1 D:4 D:5", "DE A:1 A:5", "HK D:1 D:4 D:5", "SG A:6"]
	found.message == "ear.listed_groups"
	explained({}).parameters.groups == []
	explained({}).message == "ear.listed"
	before := explained({"/job/constraints/only": ["KH"], "/context/now_ns": left - 1})
	before.parameters.groups == ["KH D:1 D:5"]
	before.message == "ear.listed_groups"
	after := explained({"/job/constraints/only": ["KH"], "/context/now_ns": left})
	after.parameters.groups == ["KH D:1"]
}

test_unverified_groups_are_named_where_their_country_was_asked_for if {
	found := ear.rows with input as query(["5D002"], {"/job/constraints/only": ["CN", "SG"]})
	{"ear_groups/D:4", "ear_groups/E:1", "memberships/EAR_D5/CN"} - found == set()
	not "ear_groups/A:6" in found
	not "memberships/EAR_D5/IR" in found
	not "memberships/EAR_D5/SG" in found
	alone := ear.rows with input as query(["5D002"], {"/job/constraints/only": ["CN"]})
	"ear_groups/D:4" in alone
	nowhere := ear.rows with input as query(["5D002"], {})
	not "ear_groups/D:4" in nowhere
	free := ear.rows with input as fixtures.with_values({"/job/constraints/only": ["CN"]})
	free == set()
}

licence := {
	"id": "D-1",
	"authority": "BIS",
	"codes": ["5D002"],
	"countries": ["DE"],
	"end_users": ["Klinikum"],
	"expires_ns": fixtures.now + 1,
}

test_a_licence_opens_its_country_for_its_codes_and_end_user if {
	not "DE" in listed(["5D002"], {"/job/technology/licences": [licence]})
	"FR" in listed(["5D002"], {"/job/technology/licences": [licence]})
	"DE" in listed(["5D002", "3A090"], {"/job/technology/licences": [licence]})
	"DE" in listed(["5D002"], {"/job/technology/licences": [licence], "/job/end_user/entity": "another"})
	"DE" in listed(["5D002"], {"/job/technology/licences": [object.union(licence, {"expires_ns": fixtures.now})]})
}

test_what_is_unknown_counts_as_listed if {
	unknown := ear.blocked["US-EAR-LIST"] with input as fixtures.with_values({"/job/technology/controlled": "unknown"})
	"DE" in unknown
	"DE" in listed([], {"/job/controller/country": "US"})
	listed([], {}) == set()
}

headquarters(codes, change) := found if {
	found := ear.blocked["US-EAR-D5HQ"] with input as query(codes, change)
}

test_the_headquarters_of_the_end_user_count_wherever_the_runner_stands if {
	headquarters(["3A090.a"], {}) == set()
	{"DE", "CA", "CN"} - headquarters(["3A090.a"], {"/job/end_user/parent_country": "CN"}) == set()
	not "US" in headquarters(["3A090.a"], {"/job/end_user/parent_country": "CN"})
	"DE" in headquarters(["3A090.a"], {"/job/end_user/country": "MO"})
	"DE" in headquarters(["3A090.a"], {"/job/end_user/parent_country": "HK"})
	"DE" in headquarters(["3A090.a"], {"/job/end_user/country": "CY"})
	headquarters(["3A090.a"], {"/job/end_user/parent_country": "TW"}) == set()
	"DE" in headquarters(["3A090.a"], {"/job/end_user/parent_country": "ZZ"})
	"DE" in headquarters(["3A090.a"], {"/job/end_user/country": "ZZ"})
	headquarters(["5D002"], {"/job/end_user/parent_country": "CN"}) == set()
}

test_rows_that_nobody_verified_are_named_where_there_may_be_something_to_control if {
	found := ear.rows with input as query(["5D002"], {})
	{"memberships/US_SOIL/PR", "memberships/EAR_NO_LICENCE/CA", "codes/EAR_ADVANCED/3A090"} - found == set()
	free := ear.rows with input as fixtures.hospital
	free == set()
	listed_only := ear.rows with input as query(["5D002"], {"/job/technology/controlled": "no"})
	"memberships/US_SOIL/PR" in listed_only
}

test_an_unknown_item_is_advanced if {
	found := ear.blocked["US-EAR-D5HQ"] with input as fixtures.with_values({"/job/technology/controlled": "unknown", "/job/end_user/parent_country": "RU"})
	"DE" in found
}

# 2026-02-03T00:00:00Z
left := 1770076800000000000

test_cambodia_left_d5 if {
	"DE" in headquarters(["3A090.a"], {"/job/end_user/parent_country": "KH", "/context/now_ns": left - 1})
	headquarters(["3A090.a"], {"/job/end_user/parent_country": "KH", "/context/now_ns": left}) == set()
}

test_closed_weights_are_a_warning_unless_the_organisation_wants_more if {
	listed(["4E091"], {}) == set()
	warned := ear.warned["US-EAR-WEIGHTS"] with input as query(["4E091"], {})
	"DE" in warned
	not "US" in warned
	settings := object.union(tables.settings, {"ear_unlisted_codes": []})
	strict := ear.blocked["US-EAR-LIST"] with input as query(["4E091"], {}) with data.carnet.tables.settings as settings
	"DE" in strict
	none := ear.warned["US-EAR-WEIGHTS"] with input as query(["5D002"], {})
	none == set()
}

verdict(models, change) := answer.verdicts[0] if {
	runner := object.union(fixtures.runner("DE"), {"gpu_models": models})
	answer := runners.answer with input as fixtures.asked(fixtures.with_values(change), [runner])
}

rules(found) := {reason.rule | some reason in found.reasons}

chinese := {"/job/end_user/parent_country": "CN"}

test_remote_access_to_advanced_accelerators_is_a_warning_by_what_they_compute if {
	"US-EAR-REMOTE" in rules(verdict(["H100"], chinese))
	"US-EAR-REMOTE" in rules(verdict(["L4"], chinese))
	"US-EAR-REMOTE" in rules(verdict(["unknown card"], chinese))
	not "US-EAR-REMOTE" in rules(verdict(["T4", "V100"], chinese))
	"US-EAR-REMOTE" in rules(verdict(["T4", "H100"], chinese))
	not "US-EAR-REMOTE" in rules(verdict([], chinese))
	not "US-EAR-REMOTE" in rules(verdict(["H100"], {}))
	found := verdict(["H100"], chinese)
	found.verdict == "permit"
}

# An accelerator of these figures, whatever its name.
of_figures(tpp, density, bandwidth) := {"X": object.union(tables.accelerators.rows.T4, {"tpp": tpp, "density_x100": density, "bandwidth_gbs": bandwidth})}

in_entry(figures, entry) if {
	ear.in_entry(figures.X, {entry})
}

test_3a090_a_and_b_by_performance_and_density if {
	in_entry(of_figures(4800, 0, 1), "3A090.a")
	not in_entry(of_figures(4799, 591, 1), "3A090.a")
	in_entry(of_figures(1600, 592, 1), "3A090.a")
	not in_entry(of_figures(1599, 9999, 1), "3A090.a")
	in_entry(of_figures(2400, 160, 1), "3A090.b")
	not in_entry(of_figures(2400, 159, 1), "3A090.b")
	not in_entry(of_figures(2399, 319, 1), "3A090.b")
	in_entry(of_figures(1600, 320, 1), "3A090.b")
	not in_entry(of_figures(1599, 320, 1), "3A090.b")
}

test_an_accelerator_of_3a090_b_is_remarkable_too if {
	accelerators := object.union(tables.accelerators, {"rows": of_figures(2400, 160, 1)})
	found := verdict(["X"], chinese) with data.carnet.tables.accelerators as accelerators
	"US-EAR-REMOTE" in rules(found)
	below := object.union(tables.accelerators, {"rows": of_figures(2399, 160, 1)})
	none := verdict(["X"], chinese) with data.carnet.tables.accelerators as below
	not "US-EAR-REMOTE" in rules(none)
}

test_an_accelerator_of_3a090_a_alone_is_remarkable_too if {
	not in_entry(of_figures(4800, 0, 1), "3A090.b")
	accelerators := object.union(tables.accelerators, {"rows": of_figures(4800, 0, 1)})
	found := verdict(["X"], chinese) with data.carnet.tables.accelerators as accelerators
	"US-EAR-REMOTE" in rules(found)
}

test_the_review_is_case_by_case_below_both_bounds if {
	not in_entry(of_figures(20999, 9999, 6499), "REVIEW")
	in_entry(of_figures(21000, 0, 1), "REVIEW")
	in_entry(of_figures(1, 0, 6500), "REVIEW")
}

test_case_by_case_review_is_for_china_and_macau_and_known_models_below_the_bounds if {
	"US-EAR-REMOTE" in rules(verdict(["H100"], chinese))
	not "US-EAR-PRESUMED" in rules(verdict(["H100", "MI300X"], chinese))
	not "US-EAR-PRESUMED" in rules(verdict(["H100"], {"/job/end_user/country": "MO"}))
	"US-EAR-PRESUMED" in rules(verdict(["H100"], {"/job/end_user/parent_country": "RU"}))
	"US-EAR-PRESUMED" in rules(verdict(["H100"], {"/job/end_user/country": "RU", "/job/end_user/parent_country": "CN"}))
	"US-EAR-PRESUMED" in rules(verdict(["H100"], {"/job/end_user/parent_country": "HK"}))
	"US-EAR-PRESUMED" in rules(verdict(["H100"], {"/job/end_user/parent_country": "ZZ"}))
	"US-EAR-PRESUMED" in rules(verdict(["unknown card"], chinese))
	"US-EAR-PRESUMED" in rules(verdict(["H100", "unknown card"], chinese))
	not "US-EAR-PRESUMED" in rules(verdict(["H100"], {}))
	not "US-EAR-PRESUMED" in rules(verdict(["T4"], {"/job/end_user/parent_country": "RU"}))
	accelerators := object.union(tables.accelerators, {"rows": of_figures(16000, 1944, 6500)})
	found := verdict(["X"], chinese) with data.carnet.tables.accelerators as accelerators
	"US-EAR-PRESUMED" in rules(found)
}

test_draft_law_never_decides_and_is_ready if {
	not "US-EAR-RASA" in rules(verdict(["H100"], chinese))
	runner := object.union(fixtures.runner("DE"), {"gpu_models": ["H100"]})
	none := ear.passed["US-EAR-RASA"] with input as fixtures.asked(fixtures.with_values(chinese), [runner])
	none == set()
}

test_a_group_that_nobody_verified_is_named_where_it_was_used if {
	body := main.body with input as query(["3A090.a"], {})
	"memberships/EAR_D5/CN" in body.unverified_rows_used
	other := main.body with input as fixtures.hospital
	not "memberships/EAR_D5/CN" in other.unverified_rows_used
}

test_the_second_stage_names_the_rows_that_it_used_and_lives_until_they_change if {
	named := verdict(["H100"], chinese).unverified_rows_used
	{"accelerators/H100", "memberships/EAR_D5/CN"} - {row | some row in named} == set()
	not "accelerators/T4" in named
	free := verdict(["H100"], {}).unverified_rows_used
	"memberships/EAR_D5/CN" in free
	not "accelerators/H100" in free
	not "memberships/EAR_D5/CN" in verdict([], chinese).unverified_rows_used
}

test_a_group_that_changes_ends_a_verdict_that_looked_at_it if {
	rows := {"EAR_D5/CN": object.union(tables.memberships.rows["EAR_D5/CN"], {"until_ns": fixtures.now + 7})}
	lists := object.union(tables.memberships.lists, {"EAR_D5": rows})
	found := verdict(["H100"], {}) with data.carnet.tables.memberships.lists as lists
	found.valid_until_ns == fixtures.now + 7
	other := verdict([], {}) with data.carnet.tables.memberships.lists as lists
	other.valid_until_ns > fixtures.now + 7
}

# Lists of one entry each that nobody verified, by the day from which it is there.
memberships := {group: {group: {"group": group, "place": "FR", "from_ns": day, "until_ns": null, "status": "unverified"}} |
	some group, day in {"EAR_D5": 1, "EAR_D5HQ": 2, "EAR_REVIEW": 3, "US_SOIL": 4, "EAR_NO_LICENCE": 5, "EAR_MEU": 6}
}

codes := {group: {group: {"group": group, "code": "3A090", "from_ns": day, "until_ns": null, "status": "unverified"}} |
	some group, day in {"EAR_ADVANCED": 7, "EU_ANNEX_IV": 8}
}

test_the_days_of_lists_and_licences_are_looked_at_where_there_may_be_something_to_control if {
	licences := {"/job/technology/licences": [licence]}
	days := ear.dates with input as query(["5D002"], licences)
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	days == {4, 5, 7, licence.expires_ns}
	advanced := ear.dates with input as query(["3A090"], licences)
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	advanced == days | {1, 2, 3}
	free := ear.dates with input as fixtures.with_values(licences)
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	free == set()
}

test_rows_of_the_headquarters_are_named_for_advanced_items_only if {
	rows := ear.rows with input as query(["5D002"], {})
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	rows == {"memberships/US_SOIL", "memberships/EAR_NO_LICENCE", "codes/EAR_ADVANCED"}
	advanced := ear.rows with input as query(["3A090"], {})
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	advanced == rows | {"memberships/EAR_D5", "memberships/EAR_D5HQ"}
}

# Two models and two bounds, of which somebody verified one.
models := {"X": {"status": "seen"}, "Y": {"status": "unverified"}}

bounds := {"a": {"status": "seen"}, "b": {"status": "unverified"}}

test_a_model_and_its_bounds_are_named_where_nobody_verified_them_for_an_end_user_of_concern if {
	lists := ear.runner_rows(["X", "Y"]) with input as fixtures.hospital
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.accelerators.rows as models
		with data.carnet.tables.accelerator_bounds.rows as bounds
	lists == {"memberships/EAR_D5", "memberships/EAR_D5HQ", "memberships/EAR_REVIEW"}
	found := ear.runner_rows(["X", "Y"]) with input as fixtures.with_values({"/job/end_user/parent_country": "FR"})
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.accelerators.rows as models
		with data.carnet.tables.accelerator_bounds.rows as bounds
	found == lists | {"accelerators/Y", "accelerator_bounds/b"}
}
