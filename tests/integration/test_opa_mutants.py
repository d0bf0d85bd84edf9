"""Rules that were made wrong on purpose: the tests beside the rules must notice each.

Mutants that the tests let live would be mistakes that they let live.
"""

from collections.abc import Iterator

import pytest

from policy.bundle import Bundle
from tests.differential.rego_mutants import Mutant, Trial
from tests.opa_support import opa_binary

RULES = Bundle.load().rules

MUTANTS = [
    ("gdpr", "mechanism.expires_ns > catalogue.now", "mechanism.expires_ns >= catalogue.now"),
    ("gdpr", 'importer.dpf_certified == "yes"', 'importer.dpf_certified != "no"'),
    ("gdpr", "\tmechanism.importer == operator\n", ""),
    ("gdpr", "\toperator in certified_importers\n", ""),
    ("gdpr", "\tmechanism.assessment_completed == true\n", ""),
    ("gdpr", 'mechanism.type in {"SCC", "BCR"}', 'mechanism.type != "BCR"'),
    ("gdpr", "default applies := true", "default applies := false"),
    ("gdpr", "default personal := true", "default personal := false"),
    ("gdpr", "default special := true", "default special := false"),
    ("gdpr", "\toutside(input.job.data.origin_jurisdiction)\n", ""),
    ("gdpr", "\toutside(input.job.controller.country)\n", ""),
    ("gdpr", "\tcount(input.job.data.subject_jurisdictions) > 0\n", ""),
    ("gdpr", "\tplaces.known(country)\n\tnot", "\tnot"),
    ("gdpr", "\trow.enabled == true\n", ""),
    ("gdpr", "\tcatalogue.holds(row)\n", ""),
    ("gdpr", "\tnot excluded(row.exporters_excluded)\n", ""),
    ("gdpr", '["EU", "EEA_EFTA", "EU_OUTERMOST", "EU_ALAND"]', '["EU", "EEA_EFTA", "EU_OUTERMOST", "EU_OCT"]'),
    ("gdpr", "places.with_regions(restricted)", "restricted"),
    ("ofac", "catalogue.holds(row)", "row.from_ns >= 0"),
    ("ofac", "\tclean(runner.operator.parent_country)\n", ""),
    ("ofac", "\tclean(runner.operator.country)\n", ""),
    ("ofac", "\tnot runner.country in partly_embargoed\n", ""),
    ("ofac", "\tplaces.known(country)\n", ""),
    ("exposure", "[runner.operator.country, runner.operator.parent_country]", "[runner.operator.country]"),
    ("exposure", "[runner.operator.country, runner.operator.parent_country]", "[runner.operator.parent_country]"),
    ("exposure", "\t\tplaces.known(country)\n", ""),
    ("constraints", "\tnot hidden(runner.jurisdiction)\n", ""),
    ("constraints", "\trank[runner.isolation] >=", "\trank[runner.isolation] >"),
    ("constraints", "\tnot places.country_of(place) in only\n", ""),
    ("baseline", 'runner.evidence in {"operator", ', 'runner.evidence in {"self", "operator", '),
    ("baseline", 'in {"clear", "off"}', 'in {"clear", "off", "unknown"}'),
    ("baseline", "\tplaces.known(runner.jurisdiction)\n", ""),
    ("baseline", "\trunner.country == places.country_of(runner.jurisdiction)\n", ""),
    ("dualuse", '["EU", "EU_OUTERMOST", "EU_ALAND"]', '["EU", "EEA_EFTA", "EU_OUTERMOST", "EU_ALAND"]'),
    ("dualuse", "count(doubtful) == 0", "count(sensitive) == 0"),
    ("dualuse", "links.covered(code, annex_iv)", "links.named(code, annex_iv)"),
    ("dualuse", "\tlinks.named(code, ungeneral)\n", "\tlinks.covered(code, ungeneral)\n"),
    ("ear", "row.tpp >= bound.tpp", "row.tpp > bound.tpp"),
    ("ear", "\trow.density_x100 >= bound.density_x100\n", ""),
    ("ear", "row.bandwidth_gbs >= bound.bandwidth_gbs", "row.bandwidth_gbs > bound.bandwidth_gbs"),
    ("ear", '{"3A090.a", "3A090.b"}', '{"3A090.a"}'),
    ("ear", "\tcount(beyond_review) == 0\n", ""),
    ("ear", "of_concern(country) if not places.known(country)\n", ""),
    ("sectors", "default public := true", "default public := false"),
    ("sectors", '\tnot "public" in input.job.controller.sectors\n', ""),
    ("sectors", "\tcount(wanted) > 0\n", ""),
    ("sectors", "\tgdpr.special\n", ""),
    ("dualuse", "\tnot free\n", "\tcount(technology.eccns) == 0\n"),
    ("dualuse", "\tcount(technology.eccns) > 0\n\tevery", "\tevery"),
    ("dualuse", '\t\tcode == "EAR99"\n', "\t\tis_string(code)\n"),
    ("catalogue", "row.from_ns <= now", "row.from_ns < now"),
    ("catalogue", "until_ns <= now", "until_ns < now"),
    ("catalogue", "day > now}", "day >= now}"),
    ("catalogue", "\tis_number(row.effective_from_ns)\n\trow.effective_from_ns <= now\n", ""),
    ("exemptions", "\texemption.expires_ns > catalogue.now\n", ""),
    ("exemptions", "exemption.expires_ns > catalogue.now", "exemption.expires_ns >= catalogue.now"),
    ("exemptions", "\texemptible(exemption.rule)\n", ""),
    ("exemptions", "\trow.exemptible == true\n", ""),
    ("exemptions", '\trow.stage == "job"\n', ""),
    ("exemptions", '\trow.effect == "deny"\n', ""),
    ("exemptions", "\tfor_classes(exemption.classes)\n", ""),
    ("exemptions", "\tfor_purpose(exemption.purposes)\n", ""),
    ("exemptions", "\texemption.rule == rule\n", ""),
    ("exemptions", "lifted_from(rule) & found", "lifted_from(rule)"),
    ("main", "\toverlays.known\n", ""),
    ("main", "own(id); is_set(found)", "is_set(found)"),
    ("main", "own(id); is_set(found)", "own(id)"),
    ("main", "own(id); told(words)", "told(words)"),
    ("main", "own(id); told(words)", "own(id)"),
    ("main", '\tduty.type == "approval"\n\tnot duty', '\tduty.type == "applause"\n\tnot duty'),
    ("main", "not duty.value <= input", "not duty.value - 1 <= input"),
    ("main", "\t\tweight(duty)\n", "\t\tis_string(duty.type)\n"),
    ("main", 'row.overlay != ""} {\n\t\texplained[id]\n', 'row.overlay != ""} {\n\t\tis_string(id)\n'),
    ("dsp", "about_us; some row in", "bulk; some row in"),
    ("catalogue", '\tnot tables.citations.rows[citation].status == "seen"\n', ""),
    ("catalogue", "not tables.citations.rows[citation].status ==", "tables.citations.rows[citation].status !="),
    ("main", "object.keys(blocked) | ({said", "set() | ({said"),
    ("main", "({said.rule | some said in warnings} | (", "(set() | ("),
    ("main", "({duty.rule | some duty in duties} | {used", "(set() | {used"),
    ("main", "{used[1] | some used in exemptions_used}))", "set()))"),
    ("main", "\tnot deciding[id]\n", ""),
    ("main", "found := whole - shown_by_code\n", "found := whole\n"),
    ("runners", "(denied_for(i) | warned(i))", "(denied_for(i))"),
    ("runners", "(denied_for(i) | warned(i))", "(warned(i))"),
    ("runners", "main.dates | ear.runner_dates(input.runners[i].gpu_models)", "main.dates"),
    ("ear", "\theadquartered\n\tsome model", "\tsome model"),
    ("catalogue", '\trow.overlay in {"", input.gateway.overlay}\n', ""),
    ("main", "\tshaped\n", ""),
    ("main", "\trules_evaluated == catalogue", "\tcount(rules_evaluated) > 0\n\tcatalogue.now > 0\n\t_ := catalogue"),
    ("main", 'default verdict := "deny"', 'default verdict := "permit"'),
    ("main", "weight(duty) := 0 - duty.value", "weight(duty) := duty.value"),
    ("runners", "\tcount(refused(i)) == 0\n\tevery id in required {\n\t\ti in passed[id]\n\t}\n", ""),
    ("runners", "\tplace_permitted(input.runners[i].jurisdiction)\n\tcount", "\tcount"),
    ("places", "\tnot country_of(place) in {whole | some whole in tables.regions.listed_whole}\n", ""),
]
QUICK = 24

pytestmark = [pytest.mark.opa, pytest.mark.timeout(330)]


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    found = Trial(opa_binary())
    yield found
    found.close()


def mutant(name: str, before: str, after: str) -> Mutant:
    path = f"carnet/{name}/{name}.rego"
    return Mutant(path=path, line=1, change=before, text=RULES[path].replace(before.encode(), after.encode()))


def test_the_rules_as_they_are_pass(trial: Trial) -> None:
    assert trial.noticed(mutant("main", "", "")) is False


def test_no_mutant_has_gone_stale() -> None:
    assert [row for row in MUTANTS if mutant(*row).text == RULES[mutant(*row).path]] == []


@pytest.mark.parametrize(
    "number",
    [pytest.param(i, marks=[pytest.mark.full] if i % (len(MUTANTS) // QUICK) else []) for i in range(len(MUTANTS))],
)
def test_a_mutant_is_noticed(trial: Trial, number: int) -> None:
    assert trial.noticed(mutant(*MUTANTS[number]))
