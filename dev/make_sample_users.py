"""Writes `dev/sample-users.ndjson`; the same file each time. Run it only to change the samples.

The hashes are real argon2id ones, of the passwords `correct horse battery 1` to `6`; a few users come with a password.
"""

import json
import os
import random
import unicodedata

HASHES = [
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDE$1rBUU2jrGMzPeKRYNGndy8ozvtm05CBFs59hxa/MB5k",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDI$IvO0iLW0h/NLu8oJ2Bw3do+eSbdXyFm35mCCvZWz1Fs",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDM$Bv3gjTlviLPyaM927qN3JDUsPGdcDQ6bt5/U0L3ZP7o",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDQ$zMHOfeNpccE8RxU2DF5fXr66ZTcFLxjh+N5J2vWN8OM",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDU$MbJqvbTPS8Ut4oR3Lgj166Qzk95nI/hDKZqBSw/Vels",
    "$argon2id$v=19$m=19456,t=2,p=1$c2FtcGxlLXNhbHQtMDY$5aSiDTAJ8zw3n4vksRrbeW6xE5prrJoTlV/IbRovxRw",
]
# Given names and family names of one script; {0} is the given name.
PEOPLES = [
    ("{0} {1}", "Ada Grace Brian Olive Niamh Rhys Morag Peter Joan Hugh", "Lovelace Hopper O'Brien Ní-Dhomhnaill ap-Rhys MacLeod Naur Clarke Nightingale Okonkwo-Smith"),
    ("{0} {1}", "José Zoë Søren Łukasz Dvořák Çağla Håkan Þóra Ünal Ștefan", "Müller Nuñez Ångström Żółtowski Šimůnek Yıldırım Øvergård Jónsdóttir Popescu Ferreira-Gonçalves"),
    ("{0} {1}", "Анна Борис Вера Глеб Дарья Егор Жанна Олена Їржі Ђорђе", "Иванова Шевченко Королёв Ковалевская Петровић Нетребко Щербаков Достоевски Цветаева Чайковский"),
    ("{0} {1}", "Ελένη Γιώργος Δήμητρα Κώστας Μαρία Νίκος Ξένια Παύλος Σοφία Ωραία", "Παπαδοπούλου Καζαντζάκης Θεοτόκης Σεφέρης Ελύτης Καβάφης Βενιζέλος Ζαχαρίου Χατζής Ψαρράς"),
    ("{0} {1}", "محمد فاطمة علي زينب حسن ليلى يوسف مريم عمر نور", "الخوارزمي الهاشمي المصري البغدادي التونسي الشامي الفارسي القرشي العباسي النجار"),
    ("{0} {1}", "דוד שרה יוסף רחל משה לאה אברהם מרים נועם תמר", "כהן לוי מזרחי פרץ ביטון דהן אברהם פרידמן מלכה אזולאי"),
    ("{0} {1}", "अर्जुन सीता राम गीता मोहन राधा विजय पूजा संजय लक्ष्मी", "शर्मा वर्मा गुप्ता सिंह पटेल जोशी त्रिवेदी चौधरी मिश्र द्विवेदी"),
    ("{0} {1}", "அருண் கவிதா முருகன் மீனா செல்வம் தமிழ் நிலா வேலன் இளங்கோ பொன்னி", "ராமன் சுப்பிரமணியன் நடராஜன் கிருஷ்ணன் பாண்டியன் சோழன் பெருமாள் வேங்கடம் அழகன் குமரன்"),
    ("{0} {1}", "สมชาย สมหญิง ประเสริฐ มาลี วิชัย สุดา อนันต์ กัญญา ธนา พิมพ์", "ใจดี แสงทอง ศรีสุข รักไทย บุญมี ทองคำ สุขใจ วงศ์ใหญ่ จันทร์เพ็ญ พงษ์พันธ์"),
    ("{1}{0}", "伟 芳 娜 敏 静 丽 强 磊 军 洋", "王 李 张 刘 陈 杨 赵 黄 周 欧阳"),
    ("{1} {0}", "さくら 太郎 花子 健一 美咲 翔太 ゆき たけし あおい 蓮", "佐藤 鈴木 高橋 田中 渡辺 伊藤 山本 中村 小林 齋藤"),
    ("{1}{0}", "민준 서연 도윤 하은 지호 수아 예준 지우 건우 다은", "김 이 박 최 정 강 조 윤 장 남궁"),
    ("{0} {1}", "გიორგი ნინო დავით მარიამ ლევან თამარ ირაკლი ქეთევან ზურაბ ელენე", "ბერიძე კაპანაძე გელაშვილი მაისურაძე გიორგაძე ლომიძე წერეთელი ჭავჭავაძე ყიფიანი ხარაძე"),
    ("{0} {1}", "Արամ Անի Տիգրան Նարե Հայկ Մարիամ Գոռ Լիլիթ Վահան Սոնա", "Հակոբյան Գրիգորյան Սարգսյան Պետրոսյան Խաչատրյան Մկրտչյան Ավետիսյան Ղազարյան Ծատուրյան Ջանիբեկյան"),
    ("{0} {1}", "አበበ አልማዝ ደረጀ ሰላም ኃይሌ ትዕግስት ብርሃኑ ሕይወት ዳዊት ፍቅርተ", "በቀለ ተስፋዬ ገብረሥላሴ ወልደማርያም መኮንን ከበደ ታደሰ ዘለቀ ጌታቸው ኃይሉ"),
]
MIDDLES = ["", "A.", "Č.", "Ж.", "Ω.", "木"]
COUNTS = {"default": 1500, "engineering": 2600, "sales": 1900}


def names(chance):
    """All names, each once, mixed."""
    found = []
    for form, given, family in PEOPLES:
        for first in given.split():
            for last in family.split():
                for middle in MIDDLES:
                    name = form.format(first, last)
                    found.append(unicodedata.normalize("NFC", f"{name} {middle}".strip()))
    found = sorted(set(found))
    chance.shuffle(found)
    return found


def main():
    """Writes the file."""
    chance = random.Random(20260101)
    supply = iter(names(chance))
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sample-users.ndjson")
    with open(path, "w", encoding="utf-8") as file:
        for department, count in COUNTS.items():
            for number in range(count):
                user = {"id": f"{department[:3]}-{number:04}", "department": department, "name": next(supply)}
                if number % 300 == 7:
                    user["password"] = f"correct horse battery {number}"
                else:
                    user["password_hash"] = chance.choice(HASHES)
                if number % 50 == 3:
                    user["locked"] = True
                file.write(json.dumps(user, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
