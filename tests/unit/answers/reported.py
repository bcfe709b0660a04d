r"""Faults that people reported of graders and routers, in our own words; each names its report.
See ``groups``."""

from __future__ import annotations

from tests.unit.answers.groups import BOX, boxed, stated

ACIDS = (
    "Which acid is used in car batteries?\nA) hydrochloric acid\nB) nitric acid\nC) sulfuric "
    "acid\nD) acetic acid"
)
ENERGY = (
    "Which statement holds?\n(A) it rises\n(B) it falls\n(C) it stays\n(D) none of these\nEnd "
    "with 'Answer: $LETTER'."
)

REPORTED: dict[str, list[tuple[str, list[str], str]]] = {
    "an answer that is an article is an answer (stanfordnlp/dspy#10066)": [
        (ACIDS, ["A", "A", "A", "C"], "AAAB"),
        ("Which blood group do they share? Answer with just the letter.", ["A", "A", "B"], "AAB"),
    ],
    "a letter with its text in the box (NVIDIA-NeMo/Gym#1844)": [
        (
            ACIDS,
            [
                r"\boxed{C: sulfuric acid}",
                r"\boxed{\text{C}}",
                r"\boxed{C. sulfuric acid}",
                r"\boxed{B}",
            ],
            "AAAB",
        )
    ],
    "a formula in a box is no choice where a letter is stated (NVIDIA-NeMo/Skills#1526)": [
        (
            ENERGY,
            [
                r"We find \boxed{\langle H\rangle \ll \Delta E}, which grows."
                + "\n\n**Answer: D**",
                "Answer: D",
                "Answer: A",
            ],
            "AAB",
        )
    ],
    "a letter mentioned after the answer, or the word I, is none (jundot/omlx#3668)": [
        (
            ACIDS,
            [
                "The answer is C. Note that A is a common distractor.",
                "The answer is C because I computed the pH.",
                "ANSWER IS C. A is incorrect.",
                "The answer is A.",
            ],
            "AAAB",
        )
    ],
    "capital letters of a unit are no choices (ruixiangcui/AGIEval#3)": [
        (
            "释放的能量是多少？\n"
            "A. $1.1\\mathrm{MeV}$\nB. $3.3\\mathrm{MeV}$\nC. $5.5\\mathrm{MeV}$",
            ["选项 (B) $3.3\\mathrm{MeV}$。", "故选B", "B. $3.3\\mathrm{MeV}$", "答案：C"],
            "AAAB",
        )
    ],
    "expressions that are large or vanish nowhere are not nought (Doenet/math-expressions#4)": [
        ("Find it." + BOX, boxed("18^x", "17^x", "0", "x!"), "ABCD")
    ],
    "one of two values is not both (huggingface/Math-Verify#47)": [
        ("Find all such cubes.", stated("1331 and 1728", "1728 and 1331", "1728"), "AAB")
    ],
    "a box said twice is one answer (huggingface/Math-Verify#57)": [
        (
            "How many?" + BOX,
            [
                r"I think it is \boxed{1}. So the reason why the answer is \boxed{1} is parity.",
                r"\boxed{1}",
                r"\boxed{2}",
            ],
            "AAB",
        )
    ],
    "a range that leaves a point out is another (open-thoughts/OpenThoughts-Agent#129)": [
        (
            "Find the domain." + BOX,
            boxed(r"(-\infty, 2) \cup (2, \infty)", r"x \neq 2", r"(-\infty, \infty)"),
            "AAB",
        )
    ],
    "a family of values is not its factor (scitix/sieval#26)": [
        ("Find all n." + BOX, boxed("n = 3k", "3k", "3"), "AAB")
    ],
    "an amount of money with commas in the last sentence (open-compass/opencompass#2426)": [
        (
            "He buys a house for $80,000 and puts in $50,000. It sells for $200,000. How much "
            "profit does he make?",
            [
                "The total is $130,000.\n\nHis profit is $200,000 - $130,000 = $70,000.",
                "Josh makes a profit of **$70,000**.",
                "70000",
                "$7,000",
            ],
            "AAAB",
        )
    ],
    "display mathematics after 'the answer is' (EleutherAI/lm-evaluation-harness#2552)": [
        (
            "What is it?",
            ["Thus the answer is \\[ \\boxed{42} \\]", "the answer is\n\\[ 42 \\]", "41 + 1 = 42"],
            "AAA",
        )
    ],
    "an ordinal, an angle, a choice in text (EleutherAI/lm-evaluation-harness#3652)": [
        (
            "What is the direction?" + BOX,
            boxed(r"\text{east}", r"\text{East}", "East", r"\text{west}"),
            "AAAB",
        ),
        (
            "Find v." + BOX,
            boxed(
                r"\begin{pmatrix} -1/3 \\ 2/3 \end{pmatrix}",
                r"\begin{pmatrix} -\dfrac{1}{3} \\ \dfrac{2}{3} \end{pmatrix}",
                r"\begin{pmatrix} 1/3 \\ 2/3 \end{pmatrix}",
            ),
            "AAB",
        ),
    ],
    "the thinking is closed twice (jundot/omlx#1905)": [
        (
            "What is 4 + 8?",
            ["<think>11? no</think>so 13, wait</think>12", "<think>x</think>12", "13"],
            "AAB",
        )
    ],
    "a trace that never ends has no answer (allenai/olmo-eval#389)": [
        (ACIDS, ["<think>Maybe (B)? The answer is B. Let me see", "<think>B</think>C", "C"], "-AA")
    ],
    "the unit that the question names need not be said (atomantic/PortOS#7304)": [
        ("Convert 4 l to ml.", ["4000", "4000 ml", "4,000 ml", "400 ml"], "AAAB")
    ],
    "a scale of temperature is a unit (SeraphimSerapis/tool-eval-bench#80)": [
        ("Convert 500 K to kelvin.", stated("500 K", "500", "500 kelvin", "226 °C"), "AAAB"),
        ("How hot is it?", stated("500 K", "500 °F", "500 °C"), "ABC"),
    ],
    "'No ' at the beginning of a sentence is no verdict (simstudioai/sim#5393)": [
        (
            "Does it support video?",
            ["No native video generation is offered.", "No, it does not.", "No", "Yes."],
            "-AAB",
        )
    ],
}
