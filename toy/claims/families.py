"""The subject of each claim: what ``scorebed claims --family`` takes. A number stands in one family."""

from __future__ import annotations

_NUMBERS = {
    "augmented": "107 137 153 158 181",
    "constrained": "100 114 240",
    "discrete": "12 83 109 123 124 126 128 130 131 133 151 190 197 215 246 252 258",
    "efficiency": "30 35 41 43 44 48 57 61 77 79 92 97 198 203 204 206 208 211 230 254 268 275 292",
    "few-step": "11 25 27 32 46 49 52 58 72 80 163 200 202 221 232 238 239 270 272 274 278 280 282 294",
    "guidance": "0 6 10 36 66 81 108 162 180 184 195 212 217 236 237 245 247 263 271 277",
    "inverse-problems": "4 8 9 17 18 31 51 65 84 101 112 125 142 177 219 220 222 224 243 249 285 288",
    "inversion-editing": "22 40 62 73 78 86 87 99 120 141 145 248",
    "processes": "5 7 13 26 38 39 45 50 67 69 75 82 89 94 134 146 149 164 169 170 174 178 187 196 205 223 234 242 266 286 293",
    "riemannian": "63 85 119 143 144 165 227 251 290",
    "schedules": "56 71 93 122 136 140 175 191 194 241 250 261",
    "solvers-ode": "3 55 60 68 276 289",
    "solvers-sde": "14 59 115 192 257",
    "theory": "16 21 37 47 54 70 76 104 105 117 135 139 148 156 160 161 168 173 176 183 188 193 207 209 214 216 255 259 260 265 295",
    "training": "15 19 23 29 88 121 147 157 172 185 213 218 229 244",
}
FAMILIES: dict[str, tuple[int, ...]] = {family: tuple(map(int, numbers.split())) for family, numbers in _NUMBERS.items()}
"""Every family with its numbers."""

OF = {number: family for family, numbers in FAMILIES.items() for number in numbers}
"""The family of a number."""
