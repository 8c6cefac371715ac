FAULTS: list[tuple[str, ...]] = []
