r"""Groups of replies to one question, with the replies that are the same answer counted together.

``A`` to ``F`` under a group name the answer that each reply gives, ``-`` that it gives none.
Written by hand, after the kinds of faults that graders and routers are reported for.
"""

from __future__ import annotations

BOX = " Put your final answer in \\boxed{}."
CHOICES = (
    "Which gas do plants take in?\nA) oxygen\nB) carbon dioxide\nC) nitrogen\nD) helium\n"
    "The last line of your response should be of the form 'Answer: $LETTER'."
)


def boxed(*contents: str) -> list[str]:
    return [f"So we get $\\boxed{{{content}}}$." for content in contents]


def stated(*contents: str) -> list[str]:
    return [f"The answer is {content}." for content in contents]


GROUPS: dict[str, list[tuple[str, list[str], str]]] = {
    "equations between figures": [
        (
            "How many ways?" + BOX,
            boxed(r"\binom{6}{2} = 15", "15", r"\frac{6!}{2} = 360", "360", r"3^2 = 9"),
            "AABBC",
        ),
        (
            "Evaluate it." + BOX,
            boxed(r"\sqrt{81} = 9", "9", r"|-7| = 7", r"\log_3 27 = 3", "3"),
            "AABCC",
        ),
        ("What is the sum?", stated("$12 + 5 = 17$", "17", "$2 + 2 = 4$"), "AAB"),
        (
            "How long is it?",
            stated(
                r"$\frac{10}{3} \approx 3.33$", r"$\frac{10}{3}$", r"$\frac{11}{3} \approx 3.67$"
            ),
            "AAB",
        ),
        (
            "Which equation is true?" + BOX,
            boxed("2 + 3 = 5", "2+3=5", "1 + 4 = 5", "3 + 3 = 6"),
            "AABC",
        ),
        (
            "Find sine and cosine." + BOX,
            boxed(r"\sin 0 = 0, \cos 0 = 1", r"\sin(0)=0, \cos(0)=1", r"\sin 0 = 1, \cos 0 = 0"),
            "AAB",
        ),
    ],
    "functions and fractions": [
        (
            "Simplify." + BOX,
            boxed(r"\frac{\ln 3}{2}", r"\frac{1}{2}\ln 3", r"\ln\sqrt{3}", r"\ln 1.5"),
            "AAAB",
        ),
        (
            "Simplify." + BOX,
            boxed(r"\frac{\cos x}{\sin x}", r"\cot x", r"\frac{1}{\tan x}", r"\tan x"),
            "AAAB",
        ),
        (
            "Find it." + BOX,
            boxed(r"\frac{\sqrt{3}}{2}", r"\sqrt{3}/2", r"\sqrt{\frac{3}{4}}", r"\sqrt{3/2}"),
            "AAAB",
        ),
        (
            "Integrate." + BOX,
            boxed(r"\frac{e^{2x}}{2}", r"\frac12 e^{2x}", r"e^{2x}/2", r"e^{x}"),
            "AAAB",
        ),
        (
            "Find it." + BOX,
            boxed(r"\tan^{-1} 2", r"\arctan 2", r"\arctan(2)", r"\frac{1}{\tan 2}"),
            "AAAB",
        ),
        (
            "Simplify." + BOX,
            boxed(r"\sin^2 x", r"(\sin x)^2", r"1 - \cos^2 x", r"\sin x^2"),
            "AAAB",
        ),
    ],
    "case of letters": [
        (
            "Express the area in terms of R and r." + BOX,
            boxed(r"\pi(R^2 - r^2)", r"\pi R^2 - \pi r^2", "0", r"2\pi r"),
            "AABC",
        ),
        (
            "What is the genotype of the child? Answer with just the genotype.",
            ["Aa", "The answer is Aa.", "AA", "aa"],
            "AABC",
        ),
        (
            "What is the symbol of cobalt? Answer with just the symbol.",
            ["Co", "The answer is Co.", "CO"],
            "AAB",
        ),
        (
            "What is the capital of France? Answer in one word.",
            ["Paris", "PARIS", "paris", "Lyon"],
            "AAAB",
        ),
        ("Express P in terms of V and v." + BOX, boxed("V", "v", "V"), "ABA"),
    ],
    "formulas and codes": [
        ("What is its molecular formula?", stated("C2H6O", "$C_2H_6O$", "C₂H₆O", "C2H4O"), "AAAB"),
        (
            "What is the formula of table salt? Answer with just the formula.",
            ["NaCl", "The answer is NaCl.", "KCl"],
            "AAB",
        ),
        ("Find the speed.", stated("v1 + v2", "v2 + v1", "$v_1 + v_2$", "v1 - v2"), "AAAB"),
        ("In how many ways?", stated("6C2", "15", "6C3", "20"), "AABB"),
        ("How far does it go?", stated("v^2/(2g)", r"$\frac{v^2}{2g}$", "v^2/g"), "AAB"),
        (
            "What is the best move for Black? Answer with just the move.",
            ["Nf6", "1... Nf6", "The answer is Nf6.", "d5"],
            "AAAB",
        ),
        (
            "Which is the best opening move? Answer with just the move.",
            ["d4", "1. d4", "1.d4", "c4"],
            "AAAB",
        ),
    ],
    "hyphens and ranges": [
        (
            "Between which years did the war last?",
            stated("1861-1865", "1861–1865", "1914-1918", "1865-1861"),
            "AABC",
        ),
        ("What was the score?", stated("3-3", "3–3", "1-1", "0"), "AABC"),
        (
            "What is it called? Answer with just the name.",
            ["mother-in-law", "mother in law", "sister-in-law"],
            "AAB",
        ),
    ],
    "tiny and large values": [
        (
            "What is the mass?",
            stated(r"$9.11 \times 10^{-31}$ kg", "9.11e-31 kg", r"$9.12 \times 10^{-31}$ kg"),
            "AAB",
        ),
        (
            "What is it?" + BOX,
            boxed("3.2e-19", r"3.2 \times 10^{-19}", r"3.2\cdot10^{-20}", "0"),
            "AABC",
        ),
        (
            "Find the probability." + BOX,
            boxed(r"\frac{1}{3^{50}}", "3^{-50}", r"\frac{1}{3^{51}}", "0"),
            "AABC",
        ),
        ("Find n." + BOX, boxed("2^{100}", "4^{50}", "2^{101}"), "AAB"),
        (
            "What is the charge?",
            stated("1.6×10⁻¹⁹ C", "1.6 × 10^-19 C", "1.6e-19", "1.6×10⁻¹⁸ C"),
            "AAAB",
        ),
    ],
    "units": [
        ("How wide is it?", stated("40 cm", "40 centimetres", "40 m", "40 mm"), "AABC"),
        (
            "How long does it take?",
            stated("2 hours", "120 minutes", "2 h", "2 minutes", "120 hours"),
            "AAABC",
        ),
        ("What is its energy?", stated("3 MeV", r"$3\ \text{MeV}$", "3 keV", "3000 keV"), "AABA"),
        ("What is its mass?", stated("5 kg", "5 g", "5000 g", "5 kilograms"), "ABAA"),
        ("How fast?", stated("20 m/s", "72 km/h", "20 km/h", r"$20\ \text{m/s}$"), "AABA"),
        ("What is the force?", stated("10 N", "10 newtons", "10", "12 N"), "AAAB"),
        ("How much is it?", stated("$5", "5 dollars", "€5", "50 cents"), "AABC"),
        ("How warm is it?", stated("20 °C", "20 degrees Celsius", "20°C", "20 °F"), "AAAB"),
        ("What is the volume?", stated("5 L", "5 liters", "5000 mL", "5 mL"), "AAAB"),
        (
            "What is the area?",
            stated(r"$12\pi$ cm^2", r"$12\pi$", r"$12\pi\text{ cm}^2$", r"$6\pi$"),
            "AAAB",
        ),
        ("Which length?", stated("7", "7 cm", "7 m"), "ABC"),
    ],
    "words after a number": [
        (
            "What does it cost?",
            stated(
                "3 million dollars", "$3,000,000", "3 million", "3 billion dollars", "3 dollars"
            ),
            "AAABC",
        ),
        (
            "What is the population?",
            stated("1.2 million", "1,200,000", "1.2 billion", "1.2"),
            "AABC",
        ),
        ("Where is she now?", stated("3 miles north", "3 miles south", "3 miles north"), "ABA"),
        (
            "How many eggs are in the box?",
            stated("a dozen", "12", "2 dozen", "24 eggs", "one dozen"),
            "AABBA",
        ),
        ("What changed?", stated("5 percentage points", "5 percent", "5 percentage points"), "ABA"),
        (
            "How many apples does he have?",
            stated("5 apples", "5", "five apples", "6 apples"),
            "AAAB",
        ),
        (
            "Which marbles did he take?",
            stated("3 red marbles", "3 blue marbles", "3 red marbles"),
            "ABA",
        ),
        ("When does it start?", stated("5 PM", "5 p.m.", "17:00", "5 AM"), "AAAB"),
        ("How much rice?", stated("2 lakh", "200,000", "2 crore"), "AAB"),
    ],
    "variables are no units": [
        (
            "Find the transform of $e^{-t}$." + BOX,
            boxed(r"\frac{1}{s+1}", "1/(s+1)", "1", r"\frac{1}{s}"),
            "AABC",
        ),
        ("What is the perimeter of a square of side $m$?" + BOX, boxed("4m", "4 m", "4"), "AAB"),
        (
            "Find the volume of the cylinder." + BOX,
            boxed(r"\pi r^2 h", r"\pi h r^2", r"\pi r^2"),
            "AAB",
        ),
        ("How far after $t$ seconds at speed $g$?" + BOX, boxed("5g", r"5 \cdot g", "5"), "AAB"),
        ("How long is it?" + BOX, boxed(r"5\text{ m}", "5", r"5\text{ m}"), "AAA"),
    ],
    "order": [
        (
            "Sort the numbers from greatest to least: 3, 9, 1" + BOX,
            boxed("9, 3, 1", "9,3,1", "1, 3, 9"),
            "AAB",
        ),
        ("How old are Tom and Ann, respectively?", stated("7, 9", "7 and 9", "9, 7"), "AAB"),
        ("Find all roots." + BOX, boxed("1, 2, 3", "3, 2, 1", r"\{2, 1, 3\}", "1, 2"), "AAAB"),
        (
            "Arrange the fractions in ascending order." + BOX,
            boxed(r"\frac13, \frac12", r"\frac12, \frac13", "1/3, 1/2"),
            "ABA",
        ),
        (
            "Name the primary colours. Answer with just the names.",
            ["red, yellow, blue", "blue, red, yellow", "red, blue"],
            "AAB",
        ),
    ],
    "commas in brackets": [
        ("What is the interval?" + BOX, boxed("(1,200)", "(1, 200)", "1200"), "AAB"),
        ("Find the point." + BOX, boxed("(2,500)", "(2, 500)", "(2,50)"), "AAB"),
        (
            "Find the range." + BOX,
            boxed("[10,100]", "[10, 100]", r"10 \le y \le 100", "10100"),
            "AAAB",
        ),
        ("How many?" + BOX, boxed("1,234", "1234", "1{,}234", r"1\,234", "1.234"), "AAAAB"),
    ],
    "products": [
        ("Compute." + BOX, boxed("5(4)", "20", "(5)(4)", "54", "9"), "AAABC"),
        (
            "How many games?" + BOX,
            boxed(r"\frac{8(7)}{2}", "28", r"\binom{8}{2}", r"\frac{15}{2}"),
            "AAAB",
        ),
        ("What is the area?" + BOX, boxed("2½π", r"\frac{5\pi}{2}", r"2.5\pi", r"\pi"), "AAAB"),
        (
            "Evaluate the integral." + BOX,
            boxed("3e - 2", "-2 + 3e", r"3\mathrm{e}-2", "0.03"),
            "AAAB",
        ),
        ("How large?" + BOX, boxed(r"3 \times 4", r"3 \cdot 4", "3*4", "12", "34"), "AAAAB"),
    ],
    "later sentences about the answer": [
        (
            "How many?",
            [
                f"The answer is {n}. This answer is {w}."
                for n, w in ((3, "correct"), (4, "correct"), (5, "verified"))
            ],
            "ABC",
        ),
        (
            "How many?",
            [
                "The answer is 7. The answer is unique.",
                "7",
                "The answer is 8. Hope this answer is useful!",
            ],
            "AAB",
        ),
        (
            "How many?",
            ["The answer is 7.\n\nThe answer is reasonable since 7 < 10.", "7", "9"],
            "AAB",
        ),
    ],
    "lists in words": [
        (
            "List them." + BOX,
            boxed(
                r"2, 4 \text{ and } 6",
                "2, 4, 6",
                "6, 4 and 2",
                r"2\text{, }4\text{, and }6",
                "2, 4",
            ),
            "AAAAB",
        ),
        (
            "Solve for t." + BOX,
            boxed(r"t=3 \text{ or } t=-3", r"t = \pm 3", "3, -3", r"t\in\{3,-3\}", "t = 3"),
            "AAAAB",
        ),
        ("Which values of k?" + BOX, boxed("k = 1 and/or k = 2", "1, 2", "k=1, k=2", "1"), "AAAB"),
        ("Find all solutions.", stated("2 and 5", "5 and 2", "x = 2 or x = 5", "2"), "AAAB"),
        (
            "Who wrote it? Answer with just the names.",
            ["Marx and Engels", "Engels and Marx", "Marx"],
            "AAB",
        ),
    ],
    "several boxes": [
        (
            "Find all x.",
            [
                r"$\boxed{3}$ or $\boxed{7}$",
                r"$\boxed{3, 7}$",
                r"$x = \boxed{7}$ and $x = \boxed{3}$",
                r"$\boxed{3}$",
            ],
            "AAAB",
        ),
        (
            "Find all x.",
            [
                r"We try $\boxed{4}$ first. No: the result is $\boxed{6}$.",
                r"$\boxed{6}$",
                r"$\boxed{4}$",
            ],
            "AAB",
        ),
        (
            "Find the points.",
            [r"$\boxed{(0,1)}$ and $\boxed{(1,0)}$", r"$\boxed{(0,1),(1,0)}$", r"$\boxed{(1,0)}$"],
            "AAB",
        ),
    ],
    "names before a value": [
        ("Find (a,b)." + BOX, boxed("(a,b)=(1,5)", "(1,5)", "a=1, b=5", "(5,1)"), "AAAB"),
        ("Find the vertex." + BOX, boxed("V(2,-3)", "(2,-3)", "V = (2, -3)", "(-3,2)"), "AAAB"),
        (
            "Find the length." + BOX,
            boxed("|AB| = 5", "5", r"\overline{AB} = 5", "AB=5", "6"),
            "AAAAB",
        ),
        (
            "Find the derivative." + BOX,
            boxed("f'(x) = 2x", "2x", r"\frac{dy}{dx} = 2x", "y' = 2x", "x^2"),
            "AAAAB",
        ),
        (
            "Find the angle." + BOX,
            boxed(r"\angle A = 30^\circ", "30°", r"m\angle BAC = 30", "30 degrees", "60"),
            "AAAAB",
        ),
        ("Find xy." + BOX, boxed("xy = 12", "12", "x y = 12", "7"), "AAAB"),
        ("What is x+y?" + BOX, boxed("x + y = 9", "9", "x+y=10"), "AAB"),
        (
            "How heavy is it?" + BOX,
            boxed(r"m = 5\text{ kg}", "5", r"5\text{ kg}", r"m=5", "6"),
            "AAAAB",
        ),
        (
            "Find the area." + BOX,
            boxed(r"\text{Area} = 24", "24", "A = 24", "S_{ABC} = 24", "25"),
            "AAAAB",
        ),
        (
            "Find the probability." + BOX,
            boxed(r"P(A) = \frac{1}{4}", "1/4", r"P(A \cap B) = 0.25", "1/2"),
            "AAAB",
        ),
        ("Find the limit." + BOX, boxed(r"\lim_{x\to 0} f(x) = 2", "2", "L = 2", "1"), "AAAB"),
        (
            "Find the vector." + BOX,
            boxed(r"\vec{v} = (1,2)", "(1,2)", r"v = (1, 2)", "(2,1)"),
            "AAAB",
        ),
    ],
    "inequalities and intervals": [
        (
            "For which x?" + BOX,
            boxed("x > 2", r"(2, \infty)", "2 < x", r"x \in (2, +\infty)", r"x \ge 2"),
            "AAAAB",
        ),
        (
            "Solve." + BOX,
            boxed(r"-1 \leq x \leq 4", "[-1, 4]", "-1 <= x <= 4", r"x \in [-1,4]", "(-1,4)"),
            "AAAAB",
        ),
        (
            "Solve." + BOX,
            boxed(
                r"x<1 \text{ or } x>3",
                r"(-\infty,1)\cup(3,\infty)",
                r"x > 3 \text{ or } x < 1",
                r"1<x<3",
            ),
            "AAAB",
        ),
        ("Solve." + BOX, boxed(r"x \geqslant 7", "x ≥ 7", r"[7, \infty)", "x > 7"), "AAAB"),
        (
            "Which values are excluded?" + BOX,
            boxed(r"x \neq -2", r"x \ne -2", "x ≠ -2", "x = -2"),
            "AAAB",
        ),
        (
            "What is the domain?" + BOX,
            boxed(r"\mathbb{R}", r"(-\infty, \infty)", r"\text{all real numbers}", r"[0,\infty)"),
            "AAAB",
        ),
        (
            "Solve." + BOX,
            boxed(r"x > 1 \text{ and } x < 5", "1 < x < 5", "(1, 5)", "[1, 5]"),
            "AAAB",
        ),
    ],
    "thinking": [
        (
            "What is 6 * 3?",
            [
                "<think>The answer is 19.</think>18",
                "[THINK]It is 20.[/THINK]The answer is 18.",
                "<thinking>\\boxed{17}</thinking>\n18",
                "18",
            ],
            "AAAA",
        ),
        (
            "What is 6 * 3?",
            [
                "analysisThe user asks. The answer is 17.assistantfinalThe answer is 18.",
                "<|channel|>analysis<|message|>17?<|end|>"
                "<|start|>assistant<|channel|>final<|message|>18",
                "18",
            ],
            "AAA",
        ),
        (
            "What is 6 * 3?",
            [
                "<seed:think>17</seed:think>18",
                "◁think▷17◁/think▷18",
                "<reasoning>17</reasoning>18",
                "17</think>18",
            ],
            "AAAA",
        ),
        (
            "What is 6 * 3?",
            [
                "<think>The answer is 18. Let me check",
                "[THINK]18",
                "◁think▷The answer is 18.",
                "analysisThe answer is 18. We check",
                "18",
            ],
            "----A",
        ),
        (
            "What is 6 * 3?",
            [
                "<|begin_of_thought|>17<|end_of_thought|>\n"
                "<|begin_of_solution|>\n18\n<|end_of_solution|>",
                "<scratchpad>17</scratchpad>18",
                "18",
            ],
            "AAA",
        ),
    ],
    "run-on": [
        (
            "What is 5 + 6? End with #### answer.",
            [
                "#### 11\n\nQuestion: What is 2 + 2?\n#### 4",
                "#### 11",
                "5 + 6 = 11\n#### 11\n\nQ: 3 + 3?\nA: #### 6",
                "#### 12",
            ],
            "AAAB",
        ),
        (
            "What is 5 + 6?",
            [
                "The answer is 11.\n\nHuman: What is 7 + 7?\n\nAssistant: The answer is 14.",
                "The answer is 11.<|im_end|>\n<|im_start|>user\n9?",
                "11",
                "14",
            ],
            "AAAB",
        ),
        (
            "What is 5 + 6?",
            ["11\n\nProblem: 2 + 2\nAnswer: 4", "11", "11</s>[INST] and 3? [/INST] 3"],
            "AAA",
        ),
    ],
    "words after an unmarked answer": [
        (
            "How many numbers are there?",
            [
                "So there are 25 primes less than 100.",
                "There are **25** of them below 100.",
                "25",
                "100",
            ],
            "AAAB",
        ),
        (
            "How many of them are even?",
            ["Of the 30 numbers, 15 are even.", "Altogether 15 of the 30 are even.", "15", "30"],
            "AAAB",
        ),
        (
            "How many students passed?",
            ["In total, 18 students passed out of 24.", "18", "24"],
            "AAB",
        ),
    ],
    "JSON and tags": [
        (
            "What is 8 * 3?",
            [
                '{"answer": 24, "confidence": 0.8}',
                '{"steps": ["8*3"], "final_answer": "24"}',
                "<answer>24</answer> I took 2 steps.",
                "<final_answer>24</final_answer>",
                "25",
            ],
            "AAAAB",
        ),
        (
            "What is 8 * 3?",
            [
                '```json\n{"answer": 24, "n": 3}\n```',
                "24",
                "**Final Answer:** 24",
                "Final answer: 24.0",
            ],
            "AAAA",
        ),
    ],
    "letters": [
        (
            CHOICES,
            [
                "Answer: B",
                "Final answer - B",
                "**B**",
                "Option B",
                "B)",
                "b)",
                "B．carbon dioxide",
                "(b)",
                "Answer: A",
            ],
            "AAAAAAAAB",
        ),
        (
            CHOICES,
            [
                "carbon dioxide",
                "Answer: carbon dioxide",
                "The answer is B because plants need it.",
                "B: carbon dioxide",
                "Answer: $\\boxed{B}$",
                "helium",
            ],
            "AAAAAB",
        ),
        (
            CHOICES,
            [
                "A) is wrong, since oxygen is given off. Answer: B",
                "I would go with B.",
                "The correct choice is B.",
                "It can't be C or D, so the answer is B",
                "Answer: D",
            ],
            "AAAAB",
        ),
        (
            CHOICES,
            ["I am not sure.", "Answer: none of the above", "Answer: B", "I don't know"],
            "--A-",
        ),
        (
            CHOICES,
            [
                "Antwort: B",
                "La respuesta es B",
                "Réponse : B",
                "정답은 B",
                "答案：B",
                "故选 B",
                "Ответ: B",
                "正确答案是B",
                "答えはB",
            ],
            "AAAAAAAAA",
        ),
        ("Which one?\nA)5\nB)6\nC)7" + BOX, boxed("B", "6", "B)6", r"\text{B}", "A)5"), "AAAAB"),
        (
            "Which one is red?\nA．apple\nB．banana\nC．lime",
            ["A", "A．apple", "apple", "B"],
            "AAAB",
        ),
    ],
    "other languages": [
        (
            "Wie viel kostet das Buch?",
            ["Das Buch kostet 12,50 €.", "12,50", "Die Antwort ist 12,5.", "\\boxed{12.50}", "12"],
            "AAAAB",
        ),
        (
            "¿Cuánto es 3 por 4?",
            ["La respuesta es 12.", "12", "Respuesta: 12", "El resultado es 12", "13"],
            "AAAAB",
        ),
        (
            "Combien font 3 fois 4 ?",
            ["La réponse est 12.", "Cela fait 12.", "Réponse : 12", "13"],
            "AAAB",
        ),
        ("3乘以4等于多少？", ["答案是12。", "答案：12", "等于12。", "所以是12", "13"], "AAAAB"),
        ("3 곱하기 4는 얼마입니까?", ["정답: 12", "12입니다.", "정답은 12입니다.", "13"], "AAAB"),
        ("Сколько будет 3 на 4?", ["Ответ: 12", "Будет 12.", "12", "13"], "AAAB"),
        (
            "What is the number?",
            ["The answer is १२.", "The answer is ٣٤.", "The answer is 12.", "１２"],
            "ABAA",
        ),
        ("小明有几个苹果？", ["小明有5个苹果。", "答：5个", "\\boxed{5}", "6个"], "AAAB"),
    ],
    "matrices": [
        (
            "Find A." + BOX,
            boxed(
                r"\begin{pmatrix} 2 & 0 \\ 0 & 3 \end{pmatrix}",
                r"\begin{bmatrix}2&0\\0&3\end{bmatrix}",
                r"\left(\begin{array}{cc} 2 & 0 \\ 0 & 3 \end{array}\right)",
                r"[[2,0],[0,3]]",
                r"\begin{pmatrix} 3 & 0 \\ 0 & 2 \end{pmatrix}",
            ),
            "AAAAB",
        ),
        (
            "Find v." + BOX,
            boxed(
                r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
                r"v = \begin{bmatrix} 1 \\ 2 \end{bmatrix}",
                r"\begin{pmatrix} 2 \\ 1 \end{pmatrix}",
            ),
            "AAB",
        ),
    ],
    "lines and curves": [
        (
            "Find an equation of the line." + BOX,
            boxed("y = 2x + 3", "2x - y + 3 = 0", "y - 3 = 2x", "y = 3x + 2"),
            "AAAB",
        ),
        (
            "What is the equation of the circle?" + BOX,
            boxed("x^2+y^2=9", r"\frac{x^2}{9}+\frac{y^2}{9}=1", "x^2 + y^2 - 9 = 0", "x^2+y^2=3"),
            "AAAB",
        ),
        ("Solve the equation $2x = 10$." + BOX, boxed("x = 5", "5", "x=5.0", "6"), "AAAB"),
    ],
    "numbers in words": [
        (
            "What is the probability?",
            stated("one third", "1/3", "⅓", r"$\frac13$", "one half"),
            "AAAAB",
        ),
        ("How many?", stated("twenty-three", "23", "twenty three", "thirty-two"), "AAAB"),
        (
            "How many?",
            stated("one hundred and five", "105", "one hundred five", "one hundred fifty"),
            "AAAB",
        ),
        (
            "What fraction?",
            stated("three quarters", "3/4", "three-fourths", "two quarters"),
            "AAAB",
        ),
        ("What is the value?", stated("minus five", "-5", "negative five", "five"), "AAAB"),
        (
            "How long?",
            stated("two and a half hours", "2.5 hours", "2½ hours", "150 minutes", "two hours"),
            "AAAAB",
        ),
    ],
    "yes and no": [
        (
            "Is 7 prime?",
            ["Yes, it is.", "Yes.", "\\boxed{\\text{Yes}}", "The answer is yes.", "No, it is not."],
            "AAAAB",
        ),
        (
            "Is the statement true or false?",
            ["True", "The statement is true.", "\\boxed{True}", "False."],
            "AAAB",
        ),
        (
            "Does it rain more in May?",
            ["**Yes** – May is wetter.", "yes", "No, because May is dry.", "No"],
            "AABB",
        ),
        ("Can penguins fly? Answer yes or no.", ["No", "no.", "NO", "Yes"], "AAAB"),
    ],
    "words that the question offers": [
        (
            "Is 57 even or odd? Answer with one word.",
            ["odd", "57 is an odd number.", "Odd.", "It is not even, it is odd.", "Even"],
            "AAAAB",
        ),
        (
            "Is a tomato a fruit or a vegetable?",
            ["A tomato is a fruit.", "Fruit", "Botanically it is a fruit.", "It's a vegetable."],
            "AAAB",
        ),
        (
            "Classify the review as positive or negative: 'I loved it.'",
            ["Positive", "The review is positive.", "**Positive**", "negative"],
            "AAAB",
        ),
        (
            "What is the capital of Peru? Answer with one word.",
            ["Lima", "The capital of Peru is Lima.", "Lima.", "**Lima**", "Cusco"],
            "AAAAB",
        ),
        (
            "Which animal is larger, a mouse or an elephant?",
            ["An elephant is larger.", "elephant", "The elephant.", "mouse"],
            "AAAB",
        ),
    ],
    "sentences in a box": [
        (
            "What is the total?" + BOX,
            [
                r"\boxed{\text{The answer is } 12}",
                r"\boxed{12}",
                r"\boxed{\text{Answer: 12}}",
                r"\boxed{13}",
            ],
            "AAAB",
        ),
        (
            "How many?" + BOX,
            [r"\boxed{12 \text{ books}}", r"\boxed{12}", r"\boxed{\text{twelve}}", r"\boxed{11}"],
            "AAAB",
        ),
    ],
    "placeholders": [
        (
            "What is 3 + 4?" + BOX,
            [
                r"I will write \boxed{your answer} at the end. The answer is 7.",
                r"\boxed{7}",
                r"\boxed{\text{answer}}",
                r"\boxed{}",
            ],
            "AA--",
        ),
        ("What is 3 + 4?", ["<answer>your answer here</answer>", "7"], "-A"),
    ],
    "decimals that repeat": [
        (
            "Write it as a fraction." + BOX,
            boxed(r"0.\overline{6}", r"\frac23", "0.(6)", "0.6"),
            "AAAB",
        ),
        ("What is it?" + BOX, boxed(r"0.1\overline{6}", r"\frac16", "0.1(6)", "0.16"), "AAAB"),
        ("What is it?" + BOX, boxed(r"0.\dot{3}", r"\frac13", "0.333...", "0.3"), "AABC"),
    ],
    "lists without a space": [
        (
            "List the values, separated by commas." + BOX,
            boxed("10,20,30", "10, 20, 30", r"\{10,20,30\}", "[10, 20, 30]", "102030"),
            "AAAAB",
        ),
        (
            "Enter your answers as a comma-separated list." + BOX,
            boxed("100,200", "100, 200", "100200"),
            "AAB",
        ),
    ],
    "roots, powers, logarithms": [
        (
            "Simplify." + BOX,
            boxed(r"\sqrt[3]{x^2}", "x^{2/3}", r"(\sqrt[3]{x})^2", "x^{3/2}"),
            "AAAB",
        ),
        (
            "Simplify." + BOX,
            boxed(r"\log_2 x^3", r"3\log_2 x", r"\log_2(x^3)", r"\log_3 x"),
            "AAAB",
        ),
        (
            "Simplify." + BOX,
            boxed(r"\ln\frac{x}{y}", r"\ln x - \ln y", r"-\ln\frac{y}{x}", r"\frac{\ln x}{\ln y}"),
            "AAAB",
        ),
        ("Simplify." + BOX, boxed("4√2", r"4\sqrt{2}", r"4\sqrt(2)", r"\sqrt{32}", "4√3"), "AAAAB"),
        (
            "What is it? Answer with just the value.",
            ["2^{1/2}", "√2", "sqrt(2)", "$\\sqrt{2}$", "2^{1/3}"],
            "AAAAB",
        ),
    ],
    "plain text": [
        ("Find the area.", stated("3*pi", "3pi", "3π", r"$3\pi$", "pi"), "AAAAB"),
        ("Find the root.", stated("3sqrt(5)", "3*sqrt(5)", "3√5", "sqrt(45)", "5sqrt(3)"), "AAAAB"),
        ("Simplify it.", stated("x**2 + 1", "x^2+1", "1 + x²", "x^3+1"), "AAAB"),
        ("Simplify it.", stated("(x+1)/(x-1)", r"$\frac{x+1}{x-1}$", "(x-1)/(x+1)"), "AAB"),
    ],
    "congruences, bases, ratios": [
        (
            "What is it modulo 5?" + BOX,
            boxed(r"2 \pmod{5}", r"x \equiv 2 \pmod 5", "2", "2 mod 5", "3"),
            "AAAAB",
        ),
        (
            "Write 5 in binary." + BOX,
            boxed("101_2", "101", r"(101)_2", r"101_{2}", r"101_{\text{two}}", "110_2"),
            "AAAAAB",
        ),
        (
            "What is the ratio of boys to girls?" + BOX,
            boxed("2:3", "2/3", r"2 \text{ to } 3", "4:6", "3:2"),
            "AAAAB",
        ),
        ("What are the odds?" + BOX, boxed("3:1", "3 to 1", "1:3"), "AAB"),
    ],
    "no solution": [
        (
            "Solve." + BOX,
            boxed(r"\text{no real solutions}", r"\text{No solution}", r"\varnothing", r"\{\}", "0"),
            "AAAAB",
        ),
        ("Find all x." + BOX, boxed(r"\emptyset", r"\text{There are no solutions}", "1"), "AAB"),
    ],
    "percent": [
        ("What is the probability?" + BOX, boxed(r"75\%", r"\frac34", "0.75", "75"), "AAAB"),
        (
            "What percentage passed?" + BOX,
            boxed(r"75\%", "75", r"75\text{ percent}", r"0.75\%"),
            "AAAB",
        ),
        ("What share is it?" + BOX, boxed(r"3\%", "3", "0.03"), "ABA"),
    ],
    "currency": [
        (
            "What does she pay?",
            ["She pays $18.00.", "The answer is $18.", "18", "$18", "\\boxed{\\$18}", "$81"],
            "AAAAAB",
        ),
        ("How much is left?", ["He has $1,250 left.", "1250", "$1,250.00", "$125"], "AAAB"),
    ],
    "bold": [
        (
            "How many people own a dog?",
            [
                "Thus the number is **31**.\n\n---\n\n**Answer:** **31**",
                "**31**",
                "The total is **31** people.",
                "32",
            ],
            "AAAB",
        )
    ],
    "corrections": [
        (
            "Solve.",
            [
                r"\boxed{3}. Wait, that is wrong. \boxed{4}",
                r"\boxed{4}",
                "The answer is 3. Actually, the answer is 4.",
                r"\boxed{3}",
            ],
            "AAAB",
        )
    ],
    "plus or minus": [
        ("Solve." + BOX, boxed(r"\pm 12", "12, -12", r"x = \pm 12", r"-12, 12", "12"), "AAAAB"),
        (
            "Solve." + BOX,
            boxed(r"1 \pm \sqrt{3}", r"1+\sqrt3, 1-\sqrt3", r"x = 1 \pm \sqrt{3}", r"1+\sqrt{3}"),
            "AAAB",
        ),
    ],
    "a box without braces": [
        ("How many?", [r"$\boxed 6$", "6", r"\boxed{6}", r"$\boxed 7$"], "AAAB")
    ],
    "units in sentences": [
        (
            "How wide is the river?",
            ["It is 25 m wide.", "It is 25 cm wide.", "It is about 25 metres.", "25 m"],
            "ABAA",
        ),
        (
            "How much money has he?",
            ["He has $15 left.", "15 dollars", "$15", "€15", "It is 15 €."],
            "AAABB",
        ),
        (
            "How long does it take?",
            ["It takes 2 hours.", "It takes 2 minutes.", "120 minutes", "2 h"],
            "ABAA",
        ),
        (
            "How many are there?",
            ["There are 12 of them in the box.", "twelve", "There are twelve.", "12"],
            "AAAA",
        ),
        ("¿Cuántos kilómetros?", ["Son 1.234,5 km.", "1234,5", "1234.5 km", "5 km"], "AAAB"),
    ],
    "sums, sets and determinants": [
        (
            "Find the sum." + BOX,
            boxed(r"\sum_{k=1}^{100} k = 5050", "5050", "S_{100} = 5050", "5000"),
            "AAAB",
        ),
        (
            "Compute it." + BOX,
            boxed(r"\begin{vmatrix} 1 & 2 \\ 3 & 4 \end{vmatrix} = -2", "-2", "2"),
            "AAB",
        ),
        ("Evaluate." + BOX, boxed(r"\int_0^1 x \, dx = \frac12", r"\frac{1}{2}", "1"), "AAB"),
        (
            "Find the roots." + BOX,
            boxed("x_1 = 2, x_2 = 3", r"\{2, 3\}", "x = 3 \\text{ or } x = 2", "(2, 3)"),
            "AAAB",
        ),
        (
            "For which x?" + BOX,
            boxed(r"\{x \mid x > 2\}", "x > 2", r"\{x : x > 2\}", r"\{2\}"),
            "AAAB",
        ),
    ],
    "letters in other dress": [
        (
            CHOICES,
            [
                "ANSWER: B)",
                "answer: [B]",
                r"Answer: \textbf{B}",
                "Correct: B",
                "My choice: B",
                "I choose (B)",
                "B!",
                "b",
            ],
            "AAAAAAAA",
        ),
        (
            CHOICES,
            [
                "选B",
                "B选项正确",
                "正解はBです",
                "정답은 B입니다",
                "La respuesta correcta es la B",
                "La réponse est la lettre B",
            ],
            "AAAAAA",
        ),
        (CHOICES, ["Answer: B/carbon dioxide", "The best answer is B", "It must be B"], "AAA"),
        (CHOICES, ["Answer: A or B", "Answer: unknown", "B or C"], "---"),
    ],
    "answers between marks, with figures after them": [
        (
            "What is 9 * 2?",
            [
                "<result>18</result> done in 2 steps",
                "<ans>18</ans>\nI used 3 steps",
                "<final>18</final>, 2 steps",
                "{'answer': 18, 'steps': 2}",
                '{"result": 18, "confidence": 0.9}',
                "18 (eighteen)",
                "17",
            ],
            "AAAAAAB",
        )
    ],
    "figures that only explain the answer": [
        (
            "How many eggs are left?",
            [
                "5 eggs are left over from the 12.",
                "She has 5 left after using 7 of the 12.",
                "5 eggs (12 - 7)",
                "5",
                "7",
            ],
            "AAAAB",
        ),
        (
            "How much did he spend?",
            ["He spent $30 in total: $10 on food and $20 on drinks.", "30 dollars", "$20"],
            "AAB",
        ),
        ("What is 15% of 80?", ["12", "15% of 80 is 12.", "0.15 * 80 = 12", "12%"], "AAAB"),
        (
            "What fraction is left?",
            ["1/4", "One quarter is left.", "25%", "0.25", "A quarter", "3/4"],
            "AAAAAB",
        ),
        (
            "Factor $x^2-4$.",
            ["(x+2)(x-2)", "The factored form is $(x - 2)(x + 2)$.", "$(x-4)(x+4)$"],
            "AAB",
        ),
        (
            "Find the solution set of $x^2 = 9$.",
            ["{-3, 3}", "x = ±3", "The solutions are 3 and -3.", "3"],
            "AAAB",
        ),
    ],
    "the question again": [
        (
            "What is 7 * 8? Answer with just the number.",
            ["7 * 8", "7 × 8", r"\boxed{7 \times 8}", "56", "7 * 8 = 56"],
            "---AA",
        ),
        (
            "Compute $12 + 5 - 3$.",
            ["$12 + 5 - 3$", "14", "The answer is 12 + 5 - 3.", "$17 - 3$"],
            "-A-A",
        ),
        ("Which is larger, 2/3 or 3/4?", ["3/4", "The larger is 3/4.", "2/3"], "AAB"),
    ],
    "what a number is equal to": [
        (
            "What is 2 * 8? Answer with just the number.",
            [
                "In math, 2 * 8 is equal to 16.",
                "We multiply 2 by 8, which comes to 16.",
                "It is simplified to 16.",
                "16",
            ],
            "AAAA",
        ),
        ("How many are left?", ["There are 7 integers from 4 to 10.", "7 of the 12.", "7"], "AAA"),
    ],
    "what is asked for, and what only stands in the question": [
        (
            "For which $x$ is $x^2 - 5x - 4 \\le 10$?" + BOX,
            boxed(r"x \in [-2,7]", "[-2,7]", r"x^2 \in [-2,7]"),
            "AAB",
        ),
        (
            "Solve $x^2 - 9 = 0$." + BOX,
            boxed("x^2 - 9 = 0", "0", r"x = \pm 3", r"\{3, -3\}"),
            "ABCC",
        ),
        ("If $a + 2b = 7$, what is $a - b$?" + BOX, boxed("a - b = 1", "1", "a + 2b = 7"), "AAB"),
    ],
    "one expression that cannot be valued": [
        (
            "What is it?" + BOX,
            boxed("9^{9^{9^{9}}}", "5", "5", r"\frac{10}{2}", "9^{9^{9^{9}}}"),
            "ABBBA",
        )
    ],
}
