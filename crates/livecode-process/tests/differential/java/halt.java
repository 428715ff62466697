public class Main { public static void main(String[] args) { System.out.print("before"); Runtime.getRuntime().halt(6); } }
