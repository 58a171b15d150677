"""What a measurement says of the machine that it was made on."""

from __future__ import annotations

from enxuto.machine.facts import describe_machine, machine


def test_the_processor_is_named_with_cores_and_threads() -> None:
    facts = {"cpu": "AMD EPYC 7R13", "cores": 2, "system": "Linux x86_64", "gpu": None}
    assert describe_machine(facts) == "AMD EPYC 7R13, 2 cores"
    assert describe_machine({**facts, "cores": 1}, 1) == "AMD EPYC 7R13, 1 core, 1 thread"
    assert describe_machine({**facts, "gpu": "H200"}, 4) == "AMD EPYC 7R13, 2 cores, H200, 4 threads"
    assert describe_machine(machine()).startswith(machine()["cpu"])
