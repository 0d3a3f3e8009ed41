"""A result written by hand, small enough to check by eye."""

from benchmarks.contenders import OURS, TEXTBOOK


def environment():
    return {"date": "2000-01-01T00:00:00+00:00", "device": "a machine", "cores": 2, "versions": {"jax": "0.10.2"}}


def timing(contender, seconds, ratio, *, cell="LSTM", mode="forward", batch=2, hidden=4, equal="hidden size"):
    return {
        "cell": cell,
        "contender": contender,
        "mode": mode,
        "equal": equal,
        "dtype": "float32",
        "seconds": seconds,
        "rounds": [seconds],
        "speedup_of_ours": ratio,
        "compile_seconds": 0.5,
        "temp_bytes": 1_000_000,
        "batch": batch,
        "time": 5,
        "input_size": 3,
        "hidden_size": hidden,
        "parameters": 128,
        "tokens_per_second": batch * 5 / seconds,
        "gflops": 1.5,
        "product_gflops": 15.0,
        "share_of_product": 0.1,
    }


def step(contender, seconds, ratio):
    row = timing(contender, seconds, ratio, mode="step", batch=1, hidden=256)
    absent = ("tokens_per_second", "gflops", "product_gflops", "share_of_product")
    return {k: v for k, v in row.items() if k not in absent}


def setting(init, final, first, *, solved):
    return {
        "init": init,
        "learning_rate": 0.01,
        "solved": solved,
        "confirmed": solved,
        "steps_to_solve": first,
        "seconds_to_solve": [None if s is None else s / 100 for s in first],
        "final_error": final,
        "validation_error": final,
        "error": [[0.7, e] for e in final],
        "loss": [[1.0, e] for e in final],
    }


def run(cell, settings, best, *, task="temporal order", length=30, chance=0.75, equal="hidden size"):
    return {
        "task": task,
        "length": length,
        "cell": cell,
        "hidden_size": 16,
        "equal": equal,
        "steps": 300,
        "seeds": 3,
        "parameters": 1000,
        "batch": 64,
        "period": 20,
        "steps_taken": 40,
        "sequences": 2560,
        "seconds": 2.0,
        "compile_seconds": 1.0,
        "chance": chance,
        "figure": "misclassified",
        "best": best,
        "settings": settings,
    }


def result():
    solved = setting("chrono", [0.0, 0.01, 0.0], [20, 40, 20], solved=[True] * 3)
    worse = setting("forget bias 1", [0.5, 0.6, 0.7], [None] * 3, solved=[False] * 3)
    stuck = setting("identity", [0.72, 0.75, 0.5], [None, None, 40], solved=[False, False, True])
    read = setting("orthogonal", [0.1, 0.2, 0.15], [None] * 3, solved=[False] * 3)
    return {
        "command": "python -m benchmarks compare",
        "environment": environment(),
        "seconds": 12.3,
        "throughput": [
            timing(OURS, 0.001, 1.0),
            timing(TEXTBOOK, 0.002, 2.0),
            timing(OURS, 0.004, 1.0, mode="training"),
            timing(TEXTBOOK, 0.006, 1.5, mode="training"),
            timing(OURS, 0.001, 1.0, batch=8),
            timing(TEXTBOOK, 0.0005, 0.5, batch=8),
            step(OURS, 0.00005, 1.0),
            step("PyTorch", 0.0001, 2.0),
        ],
        "accuracy": [
            run("LSTM", [worse, solved], 1),
            run("RNN", [stuck], 0),
            run("RNN", [stuck], 0, equal="parameters"),
            run("LSTM", [solved], 0, length=100),
            run("RNN", [stuck], 0, length=100),
            run("RNN", [read], 0, task="digits", length=64, chance=0.9),
        ],
    }
