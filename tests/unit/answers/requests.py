"""Questions in the words of people who chat: those with one answer, and those with none that
could be compared."""

COMPARABLE = """\
what is the tallest mountain in africa
Who was the first president of the United States?
capital of australia
How many moons does Jupiter have?
What year did the Titanic sink?
In what year was the Berlin wall torn down?
what's the population of Canada
who wrote Pride and Prejudice?
who is the CEO of microsoft
What is the chemical symbol for gold?
What's the square root of 144?
If I have 3 apples and eat 2, how many are left?
A bat and a ball cost $1.10 in total. The bat costs $1.00 more than the ball. \
How much does the ball cost?
Is a tomato a fruit or a vegetable?
Is it legal to own a gun in Texas?
does water boil at a lower temperature at altitude?
Can dogs eat chocolate?
What is the boiling point of water in Fahrenheit?
how far is the moon from earth?
what's the currency of Japan
Which planet is closest to the sun?
Convert 100 km to miles
convert 72 F to celsius
12*13
2+2=
what is 17 squared?
Solve 3x + 5 = 20
What is the derivative of x^3?
How tall is the Eiffel Tower?
what language do they speak in Brazil
Who won the 2018 FIFA World Cup?
When was Einstein born?
what is the opposite of hot
what day comes after Tuesday
How many r's are in strawberry?
how many letters are in the word "banana"?
What is the fastest land animal?
Which is heavier, a pound of feathers or a pound of bricks?
Sally has 3 brothers. Each brother has 2 sisters. How many sisters does Sally have?
Who painted the Mona Lisa?
which element has atomic number 6
true or false: the earth is flat
Is 91 a prime number?
what is the time complexity of binary search?
What is the plural of ox?
what is the largest ocean
what is the speed of light
Name the author of 1984
Which country has the most people?
How old is the universe?
What is the classification of the sentiment: "I love it"? positive or negative
Classify the sentiment of this review as positive, negative or neutral: The food was cold.
wie heißt die hauptstadt von Österreich?
¿Cuál es el río más largo del mundo?
quelle est la capitale du Canada ?
日本で一番高い山は何ですか?
中国的首都是哪里？
Сколько планет в солнечной системе?
what is the first element on the periodic table
Identify the odd one out: Twitter, Instagram, Telegram
Classify the following as a mammal or a reptile: snake
What is the past tense of go?
Spell the word "accommodate" backwards
Given the sequence 2, 4, 8, 16, what comes next?
A train leaves at 3 pm and travels 60 mph for 2 hours. How far does it go?
What is the sum of the first 100 integers
Find the missing number: 1, 1, 2, 3, 5, ?
Calculate the area of a circle with radius 3
Rearrange the letters "tca" to make an animal
Which of these words is a verb: run, blue, table?
Context: Anna was born in Oslo in 1980.  Question: Where was Anna born? Answer:
Read the passage and answer. Tom went to the market on Monday. When did Tom go to the market?
The movie Titanic was released in what year?
The capital of France is
What's the atomic number of oxygen?
How many continents are there
count the number of words in this sentence: I like green apples
Is the sentence grammatical? She go to school.
Does the following sentence contain a metaphor? Answer yes or no. Time is money.
Determine whether the number 27 is a perfect cube.
Which US state is the largest by area?
how many calories are in an egg
what time is it in Tokyo when it is noon in London?
Who discovered penicillin and in what year?
If today is Wednesday, what day will it be in 10 days?
Which came first, the phone or the radio?
Find the capital city of Spain.
Name the longest river in the world.
Tell me the capital of Mongolia.
tell me how many bones a human has
Give me the name of the largest desert
I have 5 dollars and spend 3. How much do I have?
Jane is faster than Joe. Joe is faster than Sam. Is Sam faster than Jane?
What word rhymes with cat and is an animal with wings?
What number is halfway between 10 and 20?
Choose the correct word: She (go/goes) to school.
What is the next letter: A, C, E, G
Select the adjective in this sentence: The big dog ran.
Extract the date from this text: The meeting is on 5 May 2020.
What is the ASCII code of 'A'?
What does HTML stand for?
What does NASA stand for
what port does https use
which protocol uses port 22
In which country is Machu Picchu?
On what continent is Egypt located?
By what name is Samuel Clemens better known?
what is 20% of 150
150 is what percent of 200?
how many feet in a mile
what is the hex value of 255
convert 0b1010 to decimal
simplify 4/8
What is the greatest common divisor of 12 and 18
Who was the first man on the moon
Whose theory of relativity changed physics?
How long does it take light from the sun to reach earth?
how long is the great wall of china?
Who founded Apple?
In which city were the 2012 olympics held
What is the name of Harry Potter's owl?
which one is bigger: 9.11 or 9.9?
Is 0.999... equal to 1?
what is 15 divided by 3
sqrt(169)?
How many sides does a hexagon have
give the number of legs of a spider
If 5 machines take 5 minutes to make 5 widgets, how long do 100 machines take to make 100 widgets?
who is the king of England
What is the capital of the state with the largest population in the US?
Which letter comes after M?
What color do you get when you mix blue and yellow?
What's heavier, a kilo of iron or a kilo of cotton?
Is the number 17 odd?
On which date does Christmas fall?
what was the name of the first satellite
Who sang Bohemian Rhapsody?
what temperature does water freeze at
at what age can you vote in the US
when did WW2 end
where was Mozart born
Fill in the blank: The opposite of big is ____.
Complete the analogy: cat is to kitten as dog is to
What is the third planet from the sun?
Answer with a single number: how many days in a leap year
Which gas makes up most of the air?
Categorize the animal into mammal, bird or fish: whale
Is this review positive or negative? "The worst phone ever"
which is correct: "its raining" or "it's raining"
What's 7 factorial?
evaluate (3+5)*2
Find x if 2x=10
what is log base 2 of 64
A rectangle has sides 3 and 4. Find the diagonal.
What is the molecular formula of glucose?
what is the gdp of france
how much does a gallon of water weigh
who invented the telephone?
Which programming language was created by Guido van Rossum?
Is Pluto a planet?
Was Gandhi born in India?
what is the binary of 10
How do you say "thank you" in Japanese?
what is the english word for "chien"?
¿Quién escribió Don Quijote?
Wie viele Bundesländer hat Deutschland?
Qui a peint la Joconde ?
2024年奥运会在哪里举办？
1+1等于几
一年有多少天？
""".splitlines()

OPEN = """\
Write a poem about the sea
Tell me a joke
what should I cook for dinner tonight?
How do I learn Python?
how to fix a leaking tap
Explain quantum computing
What is quantum computing?
what are the benefits of yoga?
Give me 10 ideas for a birthday party
write a python function to reverse a string
What do you think about AI?
who are you?
How are you?
hello
hi
What can you do?
Tell me about the history of Rome
What is the meaning of life?
why is the sky blue?
What's the difference between TCP and UDP?
summarize the following text: The cat sat on the mat 3 times.
Translate the following to French: I have 2 dogs and live in 5th street.
Give me a recipe with 3 eggs
Create a workout plan for 4 weeks
What are some good books to read?
Recommend me a movie
which laptop should I buy for under $1000?
Plan a 3 day trip to Tokyo
How can I lose 10 pounds in a month?
Write an email to my boss
Make a table of the 5 largest countries
list the planets
Name 5 fruits
what are 3 ways to save money
who was Napoleon?
Who is Elon Musk?
What happened in 1989?
Describe a sunset
Fix this code: for i in range(10) print(i)
What does this code do? x = [i**2 for i in range(10)]
Roleplay as a pirate
Continue the story: It was 1945 and
Explain how a car engine works in 3 sentences
What is love?
What is a black hole?
what is machine learning
How does photosynthesis work?
Can you help me with my homework?
Can you write me a haiku?
Do you have feelings?
Are you conscious?
What's your name?
are you chatgpt?
what is your favorite color?
Should I invest in bitcoin?
Schreibe ein Gedicht
¿Cómo estás?
写一首诗
Explique-moi la relativité
Rewrite this sentence: I has 3 cats.
Improve my resume: 5 years experience
Generate a list of 20 usernames
Give me a SQL query for the top 10 customers
What would happen if the moon disappeared?
How do I install Ubuntu 22.04?
pretend you are a teacher
Write a 500 word essay on climate change
What's the best way to study?
what is the best programming language?
Summarize the passage: In 1990, 5 million people lived there.
Write a product description for a 2 litre bottle
Compose a tweet about the 2020 Olympics
Edit the following paragraph to fix 3 errors: I is
Suggest 5 names for a cat
Come up with a slogan for a shoe brand
You are a travel agent. Plan my trip to Paris for 5 days and 2 people.
Compare iPhone 14 and Samsung S22
What are the pros and cons of nuclear power?
Write a Java program that prints the first 10 primes
Explain why 0.1 + 0.2 != 0.3
Convert the following sentence to passive voice: Tom ate 3 apples.
Convert this code to Python: int x = 5;
Find 3 synonyms for happy
Make a list of 10 healthy snacks
Give an example of a metaphor
Create a multiple choice quiz with 5 questions about history
Generate 5 questions about WW2 with 4 options each and mark the answer
Write a letter to my landlord about 2 broken windows
How should I prepare for an interview?
Describe the water cycle in 100 words
What is the process of making tea?
Discuss the causes of World War 1
Develop a marketing plan with a budget of $5000
Analyze the poem The Raven
What are the ingredients of pizza?
What do I need to make a cake?
What does it mean to be happy?
What do you recommend for a 30 year old man?
Tell me something interesting
I feel sad today
I'm 25 and lost my job. What should I do?
Thanks!
ok
continue
go on
more
yes
test
Act as a doctor. I have had a headache for 3 days.
Provide 3 examples of renewable energy
Outline the steps to start a business in 2024
Please proofread: I has 2 cat
Write a haiku with 5-7-5 syllables
Tell me a fun fact about the number 7
What is the history of the number zero?
Give me 3 facts about Mars.
What's a good gift under $50?
What are the main themes in 1984?
Explain the Pythagorean theorem
How does 2-factor authentication work?
Design a database schema for a shop
Write unit tests for def add(a, b): return a + b
What is wrong with this code? for i in range(10: print(i)
Why does 1/0 give an error?
Optimize this query: SELECT * FROM t WHERE id = 5
Please write a bash script that counts files
Hi, my name is Tom
Can you recommend a restaurant in Rome?
Could you explain the rule of 72?
I need 5 blog titles on gardening
Imagine you have $1 million. What would you do?
Tell me about 3 famous painters
Who are the main characters in Hamlet?
What are the planets of the solar system?
What are the symptoms of flu?
What are the colors of the rainbow?
Which foods are high in protein?
Which books would you recommend for a 10 year old?
Where can I buy a good used car?
When should I plant tomatoes?
Where should I go on holiday in July?
What if the Nazis had won WW2?
Do you like music?
Are there any good movies on Netflix?
Paraphrase: The 3 men walked 5 miles.
Write the opening line of a novel
Make this sentence shorter: It is 5 o'clock in the evening
Turn these bullet points into an email: - meeting at 3 - bring 2 laptops
Schreib mir eine E-Mail an meinen Chef
Explícame qué es la fotosíntesis
Donne-moi 5 idées de cadeaux
请解释一下量子力学
给我推荐5本书
自己紹介をしてください
Напиши стихотворение о весне
Rédige un texte de 200 mots sur Paris
Give feedback on my essay
Ask me 3 questions
How was your day?
What are your hobbies?
I want to learn guitar
Let's play a game
Sing a song
Motivate me
Can I ask you something?
Do you know any jokes?
Convince me to buy a pen
Argue for and against school uniforms
What's up
yo
good morning
who made you?
what model are you?
Where do you live?
What are you doing?
when were you trained?
how old are you
I have a meeting at 5pm tomorrow, write a reminder
Rate my poem from 1 to 10 and say why
Translate to German: The train leaves at 5.
Write me a story about 3 bears
Extract all names and dates from this text as JSON: Tom met Ann on 5 May.
Format this as a table: a 1, b 2
Write a regex for phone numbers
What is the syntax of a for loop in C?
How to center a div
difference between let and var
advantages of solar energy
best places to visit in Italy
top 10 movies of 2020
recipe for pancakes
history of the Roman empire
symptoms of diabetes
python vs java
What's the story behind Halloween?
What makes a good leader?
What are common interview questions?
What kind of dog should I get?
Which is the best phone to buy in 2024?
Which diet is best for me?
What do you call someone who can't stop talking? Make it funny
Who is your favorite actor?
Why do cats purr?
Should kids have phones?
Would you rather fly or be invisible?
Can you feel pain?
What would you do with 1000 dollars?
Give a speech for a wedding
Correct my grammar: he go to school 5 day a week
Make up a riddle
Give me an SVG of a circle with radius 5
Solve world hunger
Find me a good restaurant
Find information about Mars
Evaluate the pros and cons of remote work
Estimate how AI will change jobs
Determine the best strategy for chess
Identify the main idea of this passage: In 1969 men landed on the moon.
Classify these animals: dog, cat, snake, eagle
Erzähl mir einen Witz
Was ist der Sinn des Lebens?
Comment faire un gâteau ?
你是谁？
你好
帮我写一封信
怎么学习英语？
東京のおすすめは？
""".splitlines()
