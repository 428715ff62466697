import java.nio.charset.*;
public class Main { public static void main(String[] args) { System.out.println("größe 数 " + Charset.defaultCharset()); System.err.println("größe"); } }
