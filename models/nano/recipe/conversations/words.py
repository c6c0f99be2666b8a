"""Word lists, invented words, and the rule that keeps held-out prompts out of training."""

import zlib

MODEL_NAME = "MiniMax-M2 nano"

WORDS = """amber apple arrow anchor autumn badge bagel basin basket beacon berry bottle branch bridge bronze bucket
butter button cabin cactus candle canyon carpet castle cedar cellar chapel cherry circle clover cobalt coffee comet
copper coral cotton cradle crystal cup desert dragon drum eagle ember engine falcon feather fern flame flute forest
fossil fountain garden ginger glacier globe grape hammer harbor hazel helmet honey island ivory jacket jasmine jewel
kettle kite ladder lagoon lantern lemon lilac linen lizard magnet maple marble meadow melon mirror mitten mountain
needle nest nickel oak ocean olive onyx orchid otter oyster paddle panda paper pebble pencil pepper piano pillow pine
planet plum pocket pond prism pumpkin quartz rabbit raven ribbon river rocket rose ruby saddle saffron salmon sapphire
shadow shell silver spark spider spruce stone sugar summit sunset table teapot temple thistle thunder ticket tiger
timber topaz tower trumpet tulip tunnel turtle umbrella valley velvet violet violin walnut wagon willow window winter
zebra zephyr sun moon star tree door lamp book ship bell ring coin leaf bird fish cat dog horse""".split()
ANIMALS = """fox owl wolf bear lion tiger otter rabbit horse eagle whale mouse goat swan crow duck frog seal cat dog
panda zebra camel koala hawk""".split()
COLOURS = "red blue green yellow purple orange white black pink brown grey silver gold teal violet".split()
FRUITS = "apple pear plum cherry grape lemon melon mango peach fig orange banana kiwi berry".split()
CITIES = """Paris London Rome Berlin Madrid Lisbon Vienna Oslo Prague Dublin Athens Cairo Tokyo Delhi Lima Quito Seoul
Boston Denver Austin Geneva Zurich Munich Lyon Turin Porto Lund Bergen Krakow Riga Tallinn Vilnius Sofia Havana Nairobi
Accra Lagos Tunis Hanoi Manila Perth Sydney Toronto Chicago Seattle""".split()
NAMES = """Mira Tom Anna Leo Nina Omar Sara Ivan Lena Hugo Maya Finn Rosa Karl Ella Noah Zoe Adam Lucy Paul Iris Max
Clara Jon Vera Sam Alma Emil Dora Felix Greta Oscar Ruth Simon Tara Yara Bruno Cora Dina Eva""".split()
PLACES = "river forest hill lake market bridge harbor garden village castle mountain sea mill tower".split()
THINGS = "kite drum lamp coin book map bell boat key hat box ring flute basket stone feather".split()
ADJECTIVES = "small old quiet brave happy clever gentle tall shy bright lazy kind young proud".split()
SKIES = "sunny cloudy rainy windy snowy foggy clear stormy".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

OPPOSITES = {}
for pair in """hot cold,big small,up down,day night,fast slow,old new,open closed,wet dry,hard soft,light dark,happy sad,
long short,high low,full empty,early late,rich poor,strong weak,left right,in out,yes no,good bad,near far,loud quiet,
first last,clean dirty,sweet sour,thick thin,win lose,buy sell,push pull""".replace(
    "\n", ""
).split(
    ","
):
    one, other = pair.split()
    OPPOSITES[one], OPPOSITES[other] = other, one

CAPITALS = dict(
    entry.split(":") for entry in """France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna
Norway:Oslo Ireland:Dublin Greece:Athens Egypt:Cairo Japan:Tokyo Peru:Lima England:London Sweden:Stockholm Finland:Helsinki
Denmark:Copenhagen Poland:Warsaw Hungary:Budapest Russia:Moscow China:Beijing Canada:Ottawa Cuba:Havana Kenya:Nairobi
Latvia:Riga Bulgaria:Sofia Vietnam:Hanoi Belgium:Brussels Turkey:Ankara""".split()
)

ONSETS = "b c d f g h j k l m n p r s t v w z br dr st tr pl".split()
VOWELS = "a e i o u".split()
CODAS = ["", "", "n", "r", "l", "s", "m"]


def invented_word(rng, syllables=None):
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(syllables or rng.choice([2, 2, 3]))
    )


def known_or_invented(rng, share_known):
    return rng.choice(WORDS) if rng.random() < share_known else invented_word(rng)


def held_out(prompt):
    """One prompt in twenty, by its checksum, never appears in training."""
    return zlib.crc32(prompt.encode()) % 20 == 0


def capitalised(text):
    return text[:1].upper() + text[1:]


def lowered(text):
    return text[0].lower() + text[1:]
