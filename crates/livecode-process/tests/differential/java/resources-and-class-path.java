import java.io.*;
public class Main {
    public static void main(String[] args) throws Exception {
        System.out.println(new String(Main.class.getResourceAsStream("/data.txt").readAllBytes()));
        System.out.println(Main.class.getProtectionDomain().getCodeSource().getLocation() + " " + Main.class.getClassLoader().getClass());
    }
}
//== data.txt
from a file
