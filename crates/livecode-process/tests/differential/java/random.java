//= differs
public class Main { public static void main(String[] args) { System.out.println(Math.random() + " " + new Object().hashCode() + java.util.UUID.randomUUID()); } }
